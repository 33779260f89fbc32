

-- tables --
CREATE TABLE meta (
    key text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL DEFAULT '',
    channel text COLLATE "C" NOT NULL,
    paused_at bigint,
    paused_until bigint,
    pause_reason text,
    paused_by text,
    strikes integer NOT NULL DEFAULT 0,
    reopened_at bigint,
    UNIQUE (tenant, channel)
);
CREATE INDEX queue_channel ON queue (channel);
CREATE INDEX queue_gate ON queue (id) WHERE paused_at IS NOT NULL OR strikes > 0 OR reopened_at IS NOT NULL;

-- A channel paused for every tenant: queues made later begin with it.
CREATE TABLE channel_pause (
    channel text PRIMARY KEY,
    paused_at bigint NOT NULL,
    paused_until bigint,
    pause_reason text,
    paused_by text
);

-- What went to whom lately through a channel whose platform takes so much in a time, and who rests after a rate limit.
-- Recipient '' is the whole channel; it is locked before any other of its channel.
CREATE TABLE pace (
    channel text NOT NULL,
    recipient text NOT NULL,
    log text NOT NULL DEFAULT '[]',
    over_at bigint NOT NULL DEFAULT 0,
    rests_until bigint,
    full_until bigint,
    reason text,
    PRIMARY KEY (channel, recipient)
);
CREATE INDEX pace_over ON pace (channel, over_at);
CREATE INDEX pace_rest ON pace (channel) WHERE rests_until IS NOT NULL;

CREATE TABLE policy (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    spec text NOT NULL UNIQUE
);

-- Content over 2 KiB, and content shared by a fan-out: beside the row it would be rewritten at every transition.
CREATE TABLE payload (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content text NOT NULL,
    key_id text
);

-- The present era of leases: one row, or none for era 0. Whoever leases or settles holds this table in ROW SHARE mode; whoever
-- begins a new era holds it alone, and takes along what is leased. The old row is deleted, and not updated: the highest
-- number is always found at once, however many dead ones there are below it.
CREATE TABLE era (
    number integer PRIMARY KEY
);

-- Every transition writes a row anew, so tables and indexes are tidied up early and without pauses.
CREATE TABLE message (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    queue bigint NOT NULL,
    state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 6),
    waiting boolean NOT NULL DEFAULT false,
    priority smallint NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 3),
    era smallint, -- here it takes no room
    due_at bigint NOT NULL,
    lane text COLLATE "C",
    floating boolean NOT NULL DEFAULT false,
    admitted_seq bigint,
    lane_pos bigint GENERATED ALWAYS AS (CASE WHEN floating THEN admitted_seq ELSE seq END) STORED,
    lease bytea,
    lease_until bigint,
    worker bigint,
    claims integer NOT NULL DEFAULT 0,
    charged integer NOT NULL DEFAULT 0,
    lost integer NOT NULL DEFAULT 0,
    free_returns integer NOT NULL DEFAULT 0,
    max_attempts bigint NOT NULL DEFAULT 5,
    policy bigint NOT NULL,
    recipient text NOT NULL,
    account text NOT NULL DEFAULT '',
    thread text,
    kind smallint NOT NULL DEFAULT 0 CHECK (kind BETWEEN 0 AND 2),
    op smallint NOT NULL DEFAULT 0 CHECK (op BETWEEN 0 AND 2),
    target text,
    created_at bigint NOT NULL,
    not_before bigint,
    expires_at bigint,
    claimed_at bigint,
    completed_at bigint,
    prepared boolean NOT NULL DEFAULT false,
    part_count bigint NOT NULL DEFAULT 1,
    part_next bigint NOT NULL DEFAULT 0,
    splitter text,
    content text,
    payload bigint,
    content_size bigint NOT NULL DEFAULT 0,
    receipt text,
    arrived_at bigint,
    also_arrived_at bigint,
    extra_copies integer NOT NULL DEFAULT 0,
    terminal_reason text,
    error_class text,
    last_error text,
    cancel_requested_at bigint,
    key text,
    collapse_key text,
    group_id text,
    correlation_id text,
    origin text,
    traceparent text,
    metadata text,
    replay_of text,
    token_id text,
    token_epoch integer NOT NULL DEFAULT 0,
    accepted_by bytea,
    CONSTRAINT message_era CHECK (state <> 1 OR era IS NOT NULL)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- A row is in the due index only once it has a position (or needs none): see lanes.md on messages for later.
CREATE INDEX message_due ON message (queue, priority, due_at, seq)
    WHERE state = 0 AND NOT waiting AND lost < 2 AND lane_pos IS NOT NULL;
CREATE INDEX message_suspect ON message (queue, due_at, seq)
    WHERE state = 0 AND NOT waiting AND lost >= 2 AND lane_pos IS NOT NULL;
CREATE INDEX message_later ON message (queue, due_at, seq) WHERE state = 0 AND lane_pos IS NULL;
-- What stands open in its lane without being sent: most messages are stored leased, and never are in here.
CREATE INDEX message_open ON message (lane, lane_pos) WHERE state IN (0, 2) AND NOT waiting AND lane IS NOT NULL;
CREATE INDEX message_wait ON message (lane, lane_pos) WHERE state = 0 AND waiting;
-- All that is leased is of the present era, so this is one a lane. What was leased in earlier ones lies beside it: nobody
-- who looks for what is leased now walks over that.
CREATE UNIQUE INDEX message_one ON message (lane, era) WHERE state = 1 AND lane IS NOT NULL;
CREATE INDEX message_block ON message (lane) WHERE state = 2 AND lane IS NOT NULL AND lane_pos IS NOT NULL;
-- By what is leased, and not by its state: nobody who looks for a lane is to take it for an index of lanes.
CREATE INDEX message_leased ON message (era, worker, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX message_expiry ON message (expires_at) WHERE state = 0 AND expires_at IS NOT NULL;
-- Of completed_at too, so that nobody who looks for a lane takes it for an index of what is held there.
CREATE INDEX message_held ON message (completed_at) WHERE state = 2 AND completed_at IS NOT NULL;
CREATE INDEX message_done ON message (state, completed_at) WHERE state > 2;
CREATE INDEX message_payload ON message (payload) WHERE payload IS NOT NULL;
-- Only messages that must not outlive the process that accepted them say who that was.
CREATE INDEX message_accepted_by ON message (accepted_by) WHERE state = 0 AND accepted_by IS NOT NULL;
CREATE INDEX message_receipt ON message (queue, receipt) WHERE receipt IS NOT NULL;
CREATE INDEX message_correlation ON message (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX message_replay ON message (replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX message_collapse ON message (queue, collapse_key, recipient) WHERE collapse_key IS NOT NULL AND state < 3;

CREATE TABLE part (
    message bigint NOT NULL,
    number bigint NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    content text,
    receipt text,
    reason text,
    delivered_at bigint,
    PRIMARY KEY (message, number)
);

CREATE TABLE blob (
    digest bytea PRIMARY KEY,
    size bigint NOT NULL,
    content bytea NOT NULL,
    key_id text
);

CREATE TABLE message_blob (
    message bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (message, digest)
);
CREATE INDEX message_blob_digest ON message_blob (digest);

CREATE TABLE message_key (
    tenant text NOT NULL DEFAULT '',
    key text NOT NULL,
    digest bytea NOT NULL,
    message_id text NOT NULL,
    expires_at bigint,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX message_key_expiry ON message_key (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE attempt (
    message bigint NOT NULL,
    number bigint NOT NULL,
    message_id text NOT NULL,
    part bigint NOT NULL DEFAULT 0,
    lease bytea NOT NULL,
    worker bigint,
    outcome text NOT NULL,
    error_class text,
    reason text,
    receipt text,
    answer text,
    charged integer NOT NULL DEFAULT 0,
    claimed_at bigint,
    began_at bigint,
    ended_at bigint NOT NULL,
    to_state smallint NOT NULL,
    due_at bigint,
    kept boolean NOT NULL DEFAULT false,
    arrived_at bigint,
    PRIMARY KEY (message, number)
);
-- Those kept for the audit when their message is gone.
CREATE INDEX attempt_kept ON attempt (ended_at) WHERE kept;
CREATE INDEX attempt_kept_id ON attempt (message_id) WHERE kept;

CREATE TABLE history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message bigint NOT NULL,
    message_id text NOT NULL,
    at bigint NOT NULL,
    act text NOT NULL,
    actor text NOT NULL,
    from_state smallint,
    to_state smallint NOT NULL,
    reason text
);
CREATE INDEX history_message ON history (message);
CREATE INDEX history_id ON history (message_id);
CREATE INDEX history_at ON history (at);

CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    actor text NOT NULL,
    act text NOT NULL,
    subject text NOT NULL,
    reason text,
    detail text
);
CREATE INDEX audit_at ON audit (at);

CREATE TABLE import_ledger (
    system text NOT NULL,
    source_id text NOT NULL,
    message_id text,
    outcome text NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (system, source_id)
);

-- heard_at is the server's time, by which it is judged how long nothing was heard; the other times are the queue's.
CREATE TABLE worker (
    slot bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    id bytea NOT NULL UNIQUE,
    host text NOT NULL,
    pid bigint NOT NULL,
    version text NOT NULL,
    channels text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    heard_at bigint NOT NULL,
    closed boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- Messages and bytes by queue and state; queue 0 is the sum of all, so that no limit adds up thousands of them. Each is
-- the sum over its shares: a connection counts in its own, so that no commit waits for another's. From 64 on shares are
-- those of callers' transactions, until one of our own adds them up.
CREATE TABLE tally (
    queue bigint NOT NULL,
    state smallint NOT NULL,
    share bigint NOT NULL,
    messages bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, state, share)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 0);
CREATE INDEX tally_apart ON tally (share) WHERE share >= 64;

CREATE TABLE recipient_alias (
    queue bigint NOT NULL,
    recipient text NOT NULL,
    address text NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (queue, recipient)
);

-- Recipients that a platform refused for good: nothing is sent to them any more.
CREATE TABLE suppression (
    queue bigint NOT NULL,
    recipient text NOT NULL,
    at bigint NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (queue, recipient)
);

-- A record of what was said, for the host to read once its message is delivered; delivered_at is set when that is gone.
CREATE TABLE mirror (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    session_key text NOT NULL,
    text text NOT NULL,
    media text,
    message_id text NOT NULL,
    created_at bigint NOT NULL,
    delivered_at bigint,
    acknowledged_at bigint
);
CREATE INDEX mirror_pending ON mirror (session_key, id) WHERE acknowledged_at IS NULL;
CREATE INDEX mirror_message ON mirror (message_id);

-- Made by whoever first limits the messages per recipient: kept by triggers from then on, whatever the settings.
CREATE TABLE recipient_tally (
    queue bigint NOT NULL,
    recipient text NOT NULL,
    messages bigint NOT NULL,
    PRIMARY KEY (queue, recipient)
);
CREATE FUNCTION recipient_tally_add(its_queue bigint, its_recipient text, change bigint) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    INSERT INTO recipient_tally VALUES (its_queue, its_recipient, change)
        ON CONFLICT (queue, recipient) DO UPDATE SET messages = recipient_tally.messages + excluded.messages;
    DELETE FROM recipient_tally WHERE queue = its_queue AND recipient = its_recipient AND messages <= 0
$$;
CREATE FUNCTION recipient_tally_keep() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND old.state < 3 THEN
        PERFORM recipient_tally_add(old.queue, old.recipient, -1);
    END IF;
    IF new.state < 3 THEN
        PERFORM recipient_tally_add(new.queue, new.recipient, 1);
    END IF;
    RETURN NULL;
END $$;

-- For programs in any language, in their own transactions. Whoever claims the message first checks the rest and splits it.
CREATE FUNCTION enqueue(channel text, recipient text, content jsonb, key text DEFAULT NULL, ordered boolean DEFAULT true,
    not_before timestamptz DEFAULT NULL, ttl interval DEFAULT '1 hour', max_attempts integer DEFAULT 5,
    tenant text DEFAULT '', origin text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    its_clock timestamptz := clock_timestamp();
    its_now bigint := extract(epoch FROM its_clock) * 1000;
    -- What is for a time that has passed is for now: its time to live does not begin before.
    its_start timestamptz := greatest(enqueue.not_before, its_clock);
    its_id text := rtrim(translate(encode(decode(lpad(to_hex(its_now), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14), 'hex'), 'base64'), '+/', '-_'), '=');
    its_due bigint;
    its_content jsonb := enqueue.content;
    its_digest bytea;
    its_queue bigint;
    its_policy bigint;
    its_payload bigint;
    its_size bigint;
    known record;
BEGIN
    FOR known IN VALUES ('channel', enqueue.channel, 255), ('recipient', enqueue.recipient, 2048),
            ('key', coalesce(enqueue.key, '-'), 255), ('tenant', coalesce(nullif(enqueue.tenant, ''), '-'), 255),
            ('origin', coalesce(enqueue.origin, '-'), 255), ('subject', coalesce(its_content ->> 'subject', '-'), 2048),
            ('reply_to', coalesce(its_content ->> 'reply_to', '-'), 2048) LOOP
        IF known.column2 IS NULL OR btrim(known.column2) = '' OR length(known.column2) > known.column3
                OR known.column2 ~ '[\x01-\x1f\x7f-\x9f]' THEN
            RAISE invalid_parameter_value USING MESSAGE = known.column1 || ': expected one line of 1 to '
                || known.column3 || ' characters';
        END IF;
    END LOOP;
    IF jsonb_typeof(its_content) IS DISTINCT FROM 'object'
            OR (coalesce(btrim(its_content ->> 'text'), '') = '') = (its_content -> 'payload' IS NULL)
            OR EXISTS (SELECT FROM jsonb_object_keys(its_content) name WHERE name NOT IN
                ('text', 'format', 'subject', 'reply_to', 'silent', 'extra', 'payload', 'content_type')) THEN
        RAISE invalid_parameter_value USING MESSAGE =
            'content: expected {"text": …} with format, subject, reply_to, silent, extra, or {"payload": …} with content_type';
    END IF;
    IF enqueue.max_attempts NOT BETWEEN 1 AND 10000 OR enqueue.ttl < interval '1 millisecond'
            OR its_start >= '10000-01-01Z' OR its_start + enqueue.ttl >= '10000-01-01Z' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'max_attempts: expected 1 to 10000; ttl: expected some time, or NULL;'
            ' it and not_before: expected to end before the year 10000';
    END IF;
    its_due := CASE WHEN enqueue.not_before IS NULL THEN its_now ELSE extract(epoch FROM its_start) * 1000 END;
    IF its_content -> 'payload' IS NOT NULL THEN
        its_content := its_content || jsonb_build_object('payload', translate(encode(convert_to(
                (its_content -> 'payload')::text, 'UTF8'), 'base64'), E'\n', ''),
            'content_type', coalesce(its_content ->> 'content_type', 'application/json'));
    END IF;
    IF enqueue.key IS NOT NULL THEN
        its_digest := sha256(convert_to(concat_ws(chr(31), enqueue.channel, enqueue.recipient, its_content), 'UTF8'));
        INSERT INTO message_key (tenant, key, digest, message_id)
        VALUES (enqueue.tenant, enqueue.key, its_digest, its_id) ON CONFLICT DO NOTHING;
        SELECT digest, message_id INTO STRICT known FROM message_key k
        WHERE k.tenant = enqueue.tenant AND k.key = enqueue.key;
        IF known.digest <> its_digest THEN
            RAISE unique_violation USING MESSAGE = 'key: it belongs to message ' || known.message_id
                || ', which has other content or another route';
        ELSIF known.message_id <> its_id THEN
            RETURN known.message_id;
        END IF;
    END IF;
    INSERT INTO queue (tenant, channel, paused_at, paused_until, pause_reason, paused_by)
    SELECT enqueue.tenant, enqueue.channel, p.paused_at, p.paused_until, p.pause_reason, p.paused_by
    FROM (SELECT 1) one LEFT JOIN channel_pause p
        ON p.channel = enqueue.channel AND (p.paused_until IS NULL OR p.paused_until > its_now)
    WHERE NOT EXISTS (SELECT FROM queue q WHERE q.tenant = enqueue.tenant AND q.channel = enqueue.channel)
    ON CONFLICT DO NOTHING;
    SELECT id INTO STRICT its_queue FROM queue q WHERE q.tenant = enqueue.tenant AND q.channel = enqueue.channel;
    INSERT INTO policy (spec) SELECT '{}' WHERE NOT EXISTS (SELECT FROM policy WHERE spec = '{}') ON CONFLICT DO NOTHING;
    SELECT id INTO STRICT its_policy FROM policy WHERE spec = '{}';
    its_size := octet_length(its_content::text);
    IF its_size > 2048 THEN
        INSERT INTO payload (content) VALUES (its_content::text) RETURNING id INTO its_payload;
    END IF;
    INSERT INTO message (id, queue, recipient, policy, created_at, max_attempts, due_at, floating, not_before, expires_at,
        content, payload, content_size, key, lane, origin)
    VALUES (its_id, its_queue, enqueue.recipient, its_policy, its_now, enqueue.max_attempts, its_due,
        enqueue.not_before IS NOT NULL, CASE WHEN enqueue.not_before IS NOT NULL THEN its_due END,
        its_due + (extract(epoch FROM enqueue.ttl) * 1000)::bigint,
        CASE WHEN its_payload IS NULL THEN its_content::text END, its_payload, its_size, enqueue.key,
        CASE WHEN enqueue.ordered THEN concat_ws(chr(31), enqueue.tenant, enqueue.channel, '', enqueue.recipient, '') END,
        enqueue.origin);
    INSERT INTO tally (queue, state, share, messages, bytes)
    SELECT counted, 0, 64 + pg_current_xact_id()::text::bigint, 1, its_size FROM (VALUES (0), (its_queue)) c (counted)
    ON CONFLICT (queue, state, share) DO UPDATE SET messages = tally.messages + excluded.messages,
        bytes = tally.bytes + excluded.bytes;
    PERFORM pg_notify('pillarbox_' || current_schema(), '');
    RETURN its_id;
END $$;

-- Log lines of all processes write a recipient by the same name (EV3).
INSERT INTO meta (key, value) VALUES ('log_key', replace(gen_random_uuid()::text, '-', ''));

-- version_2 --
-- Functions keep the search_path of the session that made them. Until version 2 it did not name what is temporary, which
-- then is looked at first: a table of the caller's, named as one of ours, took what they store.
DO $$
DECLARE its_function regprocedure;
BEGIN
    FOR its_function IN SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
            AND proname IN ('enqueue', 'recipient_tally_add', 'recipient_tally_keep') LOOP
        -- Not FROM CURRENT: Citus refuses it where it has several servers.
        EXECUTE format('ALTER FUNCTION %s SET search_path TO %s', its_function, current_setting('search_path'));
    END LOOP;
END $$;

-- version_3 --
-- Leases have eras. Code that knows none would lease in a lane in which somebody else sends: it is not to be at work when this
-- is done, and is refused by the constraint where it is all the same.
SET LOCAL statement_timeout = 0;
DO $$ BEGIN
    IF EXISTS (SELECT FROM worker WHERE NOT closed AND heard_at > extract(epoch FROM clock_timestamp()) * 1000 - 60000) THEN
        RAISE object_in_use USING MESSAGE = 'workers are at work: stop them, or wait a minute where they were killed';
    END IF;
END $$;
CREATE TABLE era (
    number integer PRIMARY KEY
);
ALTER TABLE message ADD COLUMN era smallint;
UPDATE message SET era = 0 WHERE state = 1;
ALTER TABLE message ADD CONSTRAINT message_era CHECK (state <> 1 OR era IS NOT NULL);
DROP INDEX message_open, message_one, message_leased;
CREATE INDEX message_open ON message (lane, lane_pos) WHERE state IN (0, 2) AND NOT waiting AND lane IS NOT NULL;
CREATE UNIQUE INDEX message_one ON message (lane, era) WHERE state = 1 AND lane IS NOT NULL;
CREATE INDEX message_leased ON message (era, worker, lease_until) WHERE lease_until IS NOT NULL;
-- Whoever reads messages looks which era it is, and whoever changes them works. Who brings the schema up to date may be
-- another one than who owns it.
DO $$
DECLARE granted record;
BEGIN
    FOR granted IN SELECT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS its_role,
            bool_or(privilege_type = 'UPDATE') AS works
            FROM pg_class, aclexplode(relacl) WHERE oid = 'message'::regclass GROUP BY grantee LOOP
        EXECUTE format('GRANT SELECT ON era TO %s', granted.its_role);
        IF granted.works THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON era TO %s', granted.its_role);
        END IF;
    END LOOP;
    FOR granted IN SELECT relowner::regrole::text AS owner FROM pg_class
            WHERE oid = 'message'::regclass AND pg_get_userbyid(relowner) <> current_user LOOP
        EXECUTE format('ALTER TABLE era OWNER TO %s', granted.owner);
    END LOOP;
END $$;

-- schema_known --
SELECT to_regnamespace($1) IS NOT NULL, to_regclass($1 || '.meta') IS NOT NULL,
    to_regclass($1 || '.message') IS NOT NULL, current_setting('server_encoding'), pg_is_in_recovery(),
    current_setting('transaction_read_only')

-- schema_lock --
-- Whoever changes the schema is alone in that; nothing else ever takes this lock.
SELECT value FROM meta WHERE key = 'version' FOR UPDATE

-- schema_make --
-- Of two who make it at the same time the later one waits here, or for the first table, and is refused then.
CREATE SCHEMA IF NOT EXISTS {schema}

-- script --
-- The same by hand, and roles for it.
BEGIN;
CREATE SCHEMA IF NOT EXISTS {schema};
SET LOCAL search_path = {schema}, pg_catalog, pg_temp;
{tables}
INSERT INTO meta (key, value) VALUES ('version', '{version}'), ('usable_from', '{usable_from}');
{roles}
COMMIT;

-- roles --
-- Groups, to be granted to the roles that log in. Whoever works does everything; whoever sends stores messages and looks
-- for what is there; whoever reads changes nothing. None of them makes or changes tables.
DO $$
DECLARE its_name text;
BEGIN
    FOREACH its_name IN ARRAY ARRAY['{schema}_worker', '{schema}_sender', '{schema}_reader'] LOOP
        IF to_regrole(its_name) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', its_name);
        END IF;
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA {schema} TO {schema}_worker, {schema}_sender, {schema}_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {schema}_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}_sender, {schema}_reader;
-- Places in lanes are drawn where a message for later is due, and not by storing a row.
GRANT USAGE ON SEQUENCE {schema}.message_seq_seq TO {schema}_worker;
GRANT INSERT ON {schema}.message, {schema}.queue, {schema}.policy, {schema}.payload, {schema}.part, {schema}.message_key,
    {schema}.tally, {schema}.blob, {schema}.message_blob, {schema}.mirror TO {schema}_sender;
GRANT UPDATE ON {schema}.tally TO {schema}_sender;
-- A file that is there already is held until the commit, and nothing of it changed.
GRANT UPDATE (size) ON {schema}.blob TO {schema}_sender;
-- Who accepts what must not outlive it registers itself, and a trigger counts the messages of recipients.
GRANT INSERT, UPDATE, DELETE ON {schema}.worker, {schema}.recipient_tally TO {schema}_sender;

-- record --
INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- recipient_counting --
-- Who makes a trigger keeps everybody else from writing until the commit (SHARE ROW EXCLUSIVE), so all is counted once.
CREATE TRIGGER recipient_tally_new AFTER INSERT ON message FOR EACH ROW EXECUTE FUNCTION recipient_tally_keep();
CREATE TRIGGER recipient_tally_change AFTER UPDATE OF state, recipient ON message FOR EACH ROW
    WHEN ((old.state < 3) <> (new.state < 3) OR (old.state < 3 AND old.recipient <> new.recipient))
    EXECUTE FUNCTION recipient_tally_keep();
DELETE FROM recipient_tally;
INSERT INTO recipient_tally SELECT queue, recipient, count(*) FROM message WHERE state < 3 GROUP BY queue, recipient
