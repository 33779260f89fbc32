"""What Slack's answers mean: to an app, nearly always a 200 with a code in it, and to an incoming webhook."""

from __future__ import annotations

from typing import Final

from pillarbox.channels.http.rules import Rule, Spare, names
from pillarbox.channels.verdicts import Verdict

_POST: Final = "slack-api-ref@f4837c0c methods/chat/chat.postMessage.json"
_UPDATE: Final = "https://docs.slack.dev/reference/methods/chat.update#errors"
_LIMITS: Final = "https://docs.slack.dev/apis/web-api/rate-limits"
_HOOK: Final = "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors"
_HOOK_CHANGES: Final = "https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks"

# The last rows of both tables.
_NOT_KNOWN: Final[tuple[Rule, ...]] = (
    Rule(verdict=Verdict.UNCLASSIFIED, statuses=("2xx",), codes=("*",), source="a code that no row knows"),
    Rule(
        verdict=Verdict.UNCLASSIFIED,
        statuses=("400", "415", "422"),
        source="it may be a proxy's, and not the message's",
    ),
    Rule(verdict=Verdict.UNCERTAIN, statuses=("2xx", "5xx"), source="no answer of Slack itself"),
)

RULES: Final[tuple[Rule, ...]] = (
    Rule(verdict=Verdict.DELIVERED, statuses=("2xx",), codes=("ok",), source=_POST),
    # Too much: into one conversation, or in the whole workspace.
    Rule(verdict=Verdict.RATE_LIMITED, codes=("message_limit_exceeded",), source=_POST),
    Rule(verdict=Verdict.RATE_LIMITED_RECIPIENT, codes=("rate_limited", "ratelimited"), source=_LIMITS),
    Rule(verdict=Verdict.RATE_LIMITED_RECIPIENT, statuses=("429",), source=_LIMITS),
    # The app or its token.
    Rule(
        verdict=Verdict.AUTH,
        codes=names(
            "not_authed invalid_auth account_inactive token_revoked token_expired missing_scope not_allowed_token_type"
        ),
        source=_POST,
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=names(
            "org_login_required enterprise_is_restricted access_denied accesslimited app_access_restricted"
            " two_factor_setup_required is_bot deprecated_endpoint method_deprecated unknown_method"
            " team_access_not_granted"
        ),
        source=_POST,
    ),
    # What it can do without.
    Rule(
        verdict=Verdict.REJECTED,
        codes=names(
            "cannot_reply_to_message restricted_action_non_threadable_channel restricted_action_thread_locked"
            " thread_not_found"
        ),
        without=Spare.THREAD,
        source=f"{_POST}: about the thread",
    ),
    Rule(
        verdict=Verdict.REJECTED,
        codes=("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"),
        without=Spare.MARKUP,
        source=_POST,
    ),
    # The message.
    Rule(
        verdict=Verdict.REJECTED,
        codes=names(
            "slack_connect_canvas_sharing_blocked slack_connect_file_link_sharing_blocked"
            " slack_connect_lists_sharing_blocked"
        ),
        source=f"{_POST}: about what is shared",
    ),
    Rule(
        verdict=Verdict.REJECTED, codes=("team_not_found",), source=f"{_POST}: a token of an organisation, and a name"
    ),
    Rule(
        verdict=Verdict.REJECTED,
        codes=names(
            "msg_too_long no_text too_many_attachments attachment_payload_limit_exceeded"
            " too_many_contact_cards markdown_text_conflict metadata_too_large invalid_metadata_format"
            " invalid_metadata_schema metadata_must_be_sent_from_app missing_file_data invalid_arguments"
            " invalid_arg_name invalid_array_arg invalid_charset invalid_form_data invalid_json"
            " json_not_object invalid_post_type missing_post_type send_on_behalf_not_allowed"
            " as_user_not_supported draft_*"
        ),
        source=_POST,
    ),
    Rule(
        verdict=Verdict.REJECTED,
        codes=names(
            "message_not_found edit_window_closed cant_update_message cant_delete_message is_inactive"
            " block_mismatch message_not_in_streaming_state"
        ),
        source=_UPDATE,
    ),
    # The conversation.
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        codes=names(
            "channel_not_found is_archived not_in_channel user_not_found messages_tab_disabled"
            " restricted_action restricted_action_read_only_channel restricted_action_thread_only_channel"
            " slack_connect_* cannot_dm_bot"
        ),
        source=_POST,
    ),
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        codes=("ekm_access_denied", "no_permission"),
        source=f"{_POST}: messages to this channel; make sure your app is a member of the conversation",
    ),
    # Later.
    Rule(verdict=Verdict.DEFERRED, codes=("request_timeout",), source=f"{_POST}: POST data missing or truncated"),
    Rule(
        verdict=Verdict.DEFERRED,
        codes=names(
            "service_unavailable team_added_to_org duplicate_message_not_found duplicate_channel_not_found"
            " streaming_state_conflict external_channel_migrating"
        ),
        source=_POST,
    ),
    Rule(
        verdict=Verdict.UNCERTAIN,
        codes=("internal_error", "fatal_error", "update_failed"),
        source=f"{_POST}: some aspect of the operation may have succeeded",
    ),
    *_NOT_KNOWN,
)
"""What the Web API's answers mean: nearly all of them are a 200 with a code in it."""

HOOK_RULES: Final[tuple[Rule, ...]] = (
    Rule(verdict=Verdict.DELIVERED, statuses=("2xx",), codes=("ok",), source=_HOOK),
    Rule(verdict=Verdict.RATE_LIMITED, statuses=("429",), source=_LIMITS),
    # The hook is gone, or was never there.
    Rule(
        verdict=Verdict.AUTH,
        codes=names("invalid_token no_service no_service_id no_active_hooks no_team team_disabled"),
        statuses=("403", "404"),
        source=_HOOK,
    ),
    Rule(
        verdict=Verdict.REJECTED,
        statuses=("400",),
        codes=("invalid_blocks", "invalid_blocks_format"),
        without=Spare.MARKUP,
        source=_HOOK,
    ),
    Rule(
        verdict=Verdict.REJECTED,
        statuses=("400",),
        codes=names(
            "invalid_payload user_not_found no_text too_many_attachments missing_text_or_fallback_or_attachments"
        ),
        source=_HOOK_CHANGES,
    ),
    # A hook has one conversation: without it, it is of no use.
    Rule(
        verdict=Verdict.CLOSED,
        codes=("channel_not_found", "channel_is_archived", "action_prohibited", "posting_to_general_channel_denied"),
        source=_HOOK_CHANGES,
    ),
    Rule(verdict=Verdict.UNCERTAIN, codes=("rollup_error",), statuses=("5xx",), source=_HOOK_CHANGES),
    *_NOT_KNOWN,
)
"""What an incoming webhook's answers mean: a status, and one word."""
