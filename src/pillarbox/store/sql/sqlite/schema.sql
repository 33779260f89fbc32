-- tables --
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL DEFAULT '',
    channel TEXT NOT NULL,
    paused_at INTEGER,
    paused_until INTEGER,
    pause_reason TEXT,
    paused_by TEXT,
    strikes INTEGER NOT NULL DEFAULT 0,
    reopened_at INTEGER,
    UNIQUE (tenant, channel)
) STRICT;
CREATE INDEX queue_channel ON queue (channel);
CREATE INDEX queue_gate ON queue (id) WHERE paused_at IS NOT NULL OR strikes > 0 OR reopened_at IS NOT NULL;

-- A channel paused for every tenant: queues made later begin with it.
CREATE TABLE channel_pause (
    channel TEXT PRIMARY KEY,
    paused_at INTEGER NOT NULL,
    paused_until INTEGER,
    pause_reason TEXT,
    paused_by TEXT
) STRICT, WITHOUT ROWID;

-- What went to whom lately through a channel whose platform takes so much in a time, and who rests after a rate limit.
-- Recipient '' is the whole channel; it is locked before any other of its channel.
CREATE TABLE pace (
    channel TEXT NOT NULL,
    recipient TEXT NOT NULL,
    log TEXT NOT NULL DEFAULT '[]',
    over_at INTEGER NOT NULL DEFAULT 0,
    rests_until INTEGER,
    full_until INTEGER,
    reason TEXT,
    PRIMARY KEY (channel, recipient)
) STRICT, WITHOUT ROWID;
CREATE INDEX pace_over ON pace (channel, over_at);
CREATE INDEX pace_rest ON pace (channel) WHERE rests_until IS NOT NULL;

CREATE TABLE policy (
    id INTEGER PRIMARY KEY,
    spec TEXT NOT NULL UNIQUE
) STRICT;

-- Content over 2 KiB, and content shared by a fan-out: beside the row it would be rewritten at every transition.
CREATE TABLE payload (
    id INTEGER PRIMARY KEY,
    content ANY NOT NULL,
    key_id TEXT
) STRICT;

CREATE TABLE message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 6),
    waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting IN (0, 1)),
    priority INTEGER NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 3),
    due_at INTEGER NOT NULL,
    lane TEXT,
    floating INTEGER NOT NULL DEFAULT 0,
    admitted_seq INTEGER,
    lane_pos INTEGER GENERATED ALWAYS AS (CASE WHEN floating THEN admitted_seq ELSE seq END) VIRTUAL,
    lease BLOB,
    lease_until INTEGER,
    worker INTEGER,
    claims INTEGER NOT NULL DEFAULT 0,
    charged INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    free_returns INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL DEFAULT 5,
    policy INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    account TEXT NOT NULL DEFAULT '',
    thread TEXT,
    kind INTEGER NOT NULL DEFAULT 0 CHECK (kind BETWEEN 0 AND 2),
    op INTEGER NOT NULL DEFAULT 0 CHECK (op BETWEEN 0 AND 2),
    target TEXT,
    created_at INTEGER NOT NULL,
    not_before INTEGER,
    expires_at INTEGER,
    claimed_at INTEGER,
    completed_at INTEGER,
    prepared INTEGER NOT NULL DEFAULT 0,
    part_count INTEGER NOT NULL DEFAULT 1,
    part_next INTEGER NOT NULL DEFAULT 0,
    splitter TEXT,
    content ANY,
    payload INTEGER,
    content_size INTEGER NOT NULL DEFAULT 0,
    receipt TEXT,
    arrived_at INTEGER,
    also_arrived_at INTEGER,
    extra_copies INTEGER NOT NULL DEFAULT 0,
    terminal_reason TEXT,
    error_class TEXT,
    last_error TEXT,
    cancel_requested_at INTEGER,
    key TEXT,
    collapse_key TEXT,
    group_id TEXT,
    correlation_id TEXT,
    origin TEXT,
    traceparent TEXT,
    metadata TEXT,
    replay_of TEXT,
    token_id TEXT,
    token_epoch INTEGER NOT NULL DEFAULT 0,
    accepted_by BLOB
) STRICT;

-- A row is in the due index only once it has a position (or needs none): see lanes.md on messages for later.
CREATE INDEX message_due ON message (queue, priority, due_at, seq)
    WHERE state = 0 AND waiting = 0 AND lost < 2 AND lane_pos IS NOT NULL;
CREATE INDEX message_suspect ON message (queue, due_at, seq)
    WHERE state = 0 AND waiting = 0 AND lost >= 2 AND lane_pos IS NOT NULL;
CREATE INDEX message_later ON message (queue, due_at, seq) WHERE state = 0 AND lane_pos IS NULL;
CREATE INDEX message_open ON message (lane, lane_pos) WHERE state < 3 AND waiting = 0 AND lane IS NOT NULL;
CREATE INDEX message_wait ON message (lane, lane_pos) WHERE state = 0 AND waiting = 1;
CREATE UNIQUE INDEX message_one ON message (lane) WHERE state = 1 AND lane IS NOT NULL;
CREATE INDEX message_block ON message (lane) WHERE state = 2 AND lane IS NOT NULL AND lane_pos IS NOT NULL;
CREATE INDEX message_leased ON message (worker, lease_until) WHERE state = 1;
CREATE INDEX message_expiry ON message (expires_at) WHERE state = 0 AND expires_at IS NOT NULL;
CREATE INDEX message_held ON message (completed_at) WHERE state = 2;
CREATE INDEX message_done ON message (state, completed_at) WHERE state > 2;
CREATE INDEX message_payload ON message (payload) WHERE payload IS NOT NULL;
-- Only messages that must not outlive the process that accepted them say who that was.
CREATE INDEX message_accepted_by ON message (accepted_by) WHERE state = 0 AND accepted_by IS NOT NULL;
CREATE INDEX message_receipt ON message (queue, receipt) WHERE receipt IS NOT NULL;
CREATE INDEX message_correlation ON message (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX message_replay ON message (replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX message_collapse ON message (queue, collapse_key, recipient) WHERE collapse_key IS NOT NULL AND state < 3;

CREATE TABLE part (
    message INTEGER NOT NULL,
    number INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    content ANY,
    receipt TEXT,
    reason TEXT,
    delivered_at INTEGER,
    PRIMARY KEY (message, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE blob (
    digest BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    content BLOB NOT NULL,
    key_id TEXT
) STRICT;

CREATE TABLE message_blob (
    message INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (message, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_blob_digest ON message_blob (digest);

CREATE TABLE message_key (
    tenant TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    message_id TEXT NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_key_expiry ON message_key (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE attempt (
    message INTEGER NOT NULL,
    number INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    part INTEGER NOT NULL DEFAULT 0,
    lease BLOB NOT NULL,
    worker INTEGER,
    outcome TEXT NOT NULL,
    error_class TEXT,
    reason TEXT,
    receipt TEXT,
    answer TEXT,
    charged INTEGER NOT NULL DEFAULT 0,
    claimed_at INTEGER,
    began_at INTEGER,
    ended_at INTEGER NOT NULL,
    to_state INTEGER NOT NULL,
    due_at INTEGER,
    full INTEGER NOT NULL DEFAULT 0,
    arrived_at INTEGER,
    PRIMARY KEY (message, number)
) STRICT, WITHOUT ROWID;
-- Those kept for the audit when their message is gone.
CREATE INDEX attempt_full ON attempt (ended_at) WHERE full = 1;
CREATE INDEX attempt_full_id ON attempt (message_id) WHERE full = 1;

CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    act TEXT NOT NULL,
    actor TEXT NOT NULL,
    from_state INTEGER,
    to_state INTEGER NOT NULL,
    reason TEXT
) STRICT;
CREATE INDEX history_message ON history (message);
CREATE INDEX history_id ON history (message_id);
CREATE INDEX history_at ON history (at);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT,
    detail TEXT
) STRICT;
CREATE INDEX audit_at ON audit (at);

CREATE TABLE import_ledger (
    system TEXT NOT NULL,
    source_id TEXT NOT NULL,
    message_id TEXT,
    outcome TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (system, source_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE worker (
    slot INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    boot TEXT NOT NULL,
    version TEXT NOT NULL,
    channels TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    lock_file INTEGER NOT NULL
) STRICT;

-- Active and ended messages by queue and state; queue 0 is the sum of all, so that no limit adds up thousands of them.
CREATE TABLE tally (
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL,
    messages INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE recipient_alias (
    queue INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    address TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (queue, recipient)
) STRICT, WITHOUT ROWID;

-- Recipients that a platform refused for good: nothing is sent to them any more.
CREATE TABLE suppression (
    queue INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (queue, recipient)
) STRICT, WITHOUT ROWID;

-- A record of what was said, for the host to read once its message is delivered; delivered_at is set when that is gone.
CREATE TABLE mirror (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    session_key TEXT NOT NULL,
    text TEXT NOT NULL,
    media TEXT,
    message_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    delivered_at INTEGER,
    acknowledged_at INTEGER
) STRICT;
CREATE INDEX mirror_pending ON mirror (session_key, id) WHERE acknowledged_at IS NULL;
CREATE INDEX mirror_message ON mirror (message_id);

-- Log lines of all processes write a recipient by the same name (EV3).
INSERT INTO meta (key, value) VALUES ('log_key', lower(hex(randomblob(16))));

-- version_2 --
-- Many recipients may have a message of the same collapse key waiting; a pause may be for tenants that come later. A
-- channel that answers again is opened step by step.
ALTER TABLE queue ADD COLUMN reopened_at INTEGER;
DROP INDEX queue_gate;
CREATE INDEX queue_gate ON queue (id) WHERE paused_at IS NOT NULL OR strikes > 0 OR reopened_at IS NOT NULL;
DROP INDEX message_collapse;
CREATE INDEX message_collapse ON message (queue, collapse_key, recipient) WHERE collapse_key IS NOT NULL AND state < 3;
CREATE TABLE channel_pause (
    channel TEXT PRIMARY KEY,
    paused_at INTEGER NOT NULL,
    paused_until INTEGER,
    pause_reason TEXT,
    paused_by TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE pace (
    channel TEXT NOT NULL,
    recipient TEXT NOT NULL,
    log TEXT NOT NULL DEFAULT '[]',
    over_at INTEGER NOT NULL DEFAULT 0,
    rests_until INTEGER,
    full_until INTEGER,
    reason TEXT,
    PRIMARY KEY (channel, recipient)
) STRICT, WITHOUT ROWID;
CREATE INDEX pace_over ON pace (channel, over_at);
CREATE INDEX pace_rest ON pace (channel) WHERE rests_until IS NOT NULL;

CREATE TABLE suppression (
    queue INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (queue, recipient)
) STRICT, WITHOUT ROWID;

-- recipient_counting --
-- Made only where a limit per recipient is configured; from then on kept by every writer, whatever its settings.
CREATE TABLE recipient_tally (
    queue INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (queue, recipient)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER recipient_tally_in AFTER INSERT ON message WHEN new.state < 3 BEGIN
    INSERT INTO recipient_tally VALUES (new.queue, new.recipient, 1)
        ON CONFLICT DO UPDATE SET messages = messages + 1;
END;
CREATE TRIGGER recipient_tally_out AFTER UPDATE OF state ON message
    WHEN old.state < 3 AND new.state > 2 BEGIN
    UPDATE recipient_tally SET messages = messages - 1 WHERE queue = old.queue AND recipient = old.recipient;
    DELETE FROM recipient_tally WHERE queue = old.queue AND recipient = old.recipient AND messages <= 0;
END;
CREATE TRIGGER recipient_tally_move AFTER UPDATE OF recipient ON message
    WHEN new.state < 3 AND old.recipient <> new.recipient BEGIN
    UPDATE recipient_tally SET messages = messages - 1 WHERE queue = old.queue AND recipient = old.recipient;
    DELETE FROM recipient_tally WHERE queue = old.queue AND recipient = old.recipient AND messages <= 0;
    INSERT INTO recipient_tally VALUES (new.queue, new.recipient, 1)
        ON CONFLICT DO UPDATE SET messages = messages + 1;
END;

-- recipient_counting_fill --
INSERT INTO recipient_tally SELECT queue, recipient, count(*) FROM message WHERE state < 3 GROUP BY queue, recipient

-- count_tables --
SELECT count(*) FROM sqlite_schema

-- record --
INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)

-- taken_names --
-- What of another program stands in the way of ours.
SELECT name FROM sqlite_schema WHERE name COLLATE NOCASE IN (SELECT value FROM json_each(?1)) ORDER BY name

-- sharing --
-- For programs in any language, in their own transactions: what is inserted into this view is a message. Whoever claims it
-- first checks the rest and splits it. What is not said is NULL, and takes its default.
CREATE VIEW pillarbox_enqueue (id, channel, recipient, content, "key", ordered, not_before, ttl, max_attempts, tenant, origin) AS
SELECT m.id, q.channel, m.recipient, NULL, m."key", m.lane IS NOT NULL, m.not_before, NULL, m.max_attempts, q.tenant, m.origin
FROM message m JOIN queue q ON q.id = m.queue;

-- Behind it, in two steps, so that what is reckoned is reckoned once: everything is checked; everything is encoded.
CREATE VIEW pillarbox_encode (id, channel, recipient, content, body, "key", ordered, is_later, now_ms, due_ms, expires_ms,
    max_attempts, tenant, origin) AS
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE 0;
CREATE VIEW pillarbox_accept (id, channel, recipient, content, "key", ordered, is_later, now_ms, due_ms, expires_ms,
    max_attempts, tenant, origin) AS
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE 0;

CREATE TRIGGER pillarbox_enqueue_insert INSTEAD OF INSERT ON pillarbox_enqueue BEGIN
    SELECT CASE
        WHEN given.value IS NULL OR typeof(given.value) <> 'text' OR trim(given.value) = ''
            OR length(given.value) > iif(given.name IN ('recipient', 'subject', 'reply_to'), 2048, 255)
            OR given.value GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'
            OR instr(CAST(given.value AS BLOB), x'00') THEN CASE given.name
                WHEN 'channel' THEN RAISE(ABORT, 'channel: expected one line of 1 to 255 characters')
                WHEN 'recipient' THEN RAISE(ABORT, 'recipient: expected one line of 1 to 2048 characters')
                WHEN 'key' THEN RAISE(ABORT, 'key: expected one line of 1 to 255 characters')
                WHEN 'tenant' THEN RAISE(ABORT, 'tenant: expected one line of 1 to 255 characters')
                WHEN 'origin' THEN RAISE(ABORT, 'origin: expected one line of 1 to 255 characters')
                WHEN 'subject' THEN RAISE(ABORT, 'subject: expected one line of 1 to 2048 characters')
                ELSE RAISE(ABORT, 'reply_to: expected one line of 1 to 2048 characters') END
        END
    FROM (
        SELECT 'channel' AS name, new.channel AS value UNION ALL SELECT 'recipient', new.recipient
        UNION ALL SELECT 'key', new."key" WHERE new."key" IS NOT NULL
        UNION ALL SELECT 'tenant', new.tenant WHERE coalesce(new.tenant, '') <> ''
        UNION ALL SELECT 'origin', new.origin WHERE new.origin IS NOT NULL
        UNION ALL SELECT said.key, said.value FROM json_each(iif(json_valid(new.content), new.content, '{}')) said
        WHERE said.key IN ('subject', 'reply_to') AND said.type <> 'null'
    ) given;
    SELECT RAISE(ABORT, 'content: expected JSON as text: {"text": …} with format, subject, reply_to, silent, extra, or {"payload": …} with content_type')
    WHERE CASE WHEN typeof(new.content) <> 'text' OR NOT json_valid(new.content) THEN 1
        WHEN json_type(new.content) <> 'object' THEN 1
        WHEN (trim(coalesce(json_extract(new.content, '$.text'), ''), char(9, 10, 11, 12, 13, 32)) = '')
            = (json_type(new.content, '$.payload') IS NULL) THEN 1
        WHEN EXISTS (SELECT 1 FROM json_each(new.content) said WHERE said.key NOT IN
            ('text', 'format', 'subject', 'reply_to', 'silent', 'extra', 'payload', 'content_type')) THEN 1
        -- Of one name twice, another reader might take the other.
        WHEN (SELECT count(*) <> count(DISTINCT said.key) FROM json_each(new.content) said) THEN 1
        ELSE 0 END;
    SELECT RAISE(ABORT, 'max_attempts: expected 1 to 10000')
    WHERE new.max_attempts IS NOT NULL
        AND (typeof(new.max_attempts) <> 'integer' OR new.max_attempts NOT BETWEEN 1 AND 10000);
    SELECT RAISE(ABORT, 'ttl: expected seconds, up to a hundred years, or ''none''')
    WHERE new.ttl IS NOT NULL AND new.ttl IS NOT 'none' AND (typeof(new.ttl) NOT IN ('integer', 'real')
        OR new.ttl NOT BETWEEN 0.001 AND 3155760000);
    SELECT RAISE(ABORT, 'not_before: expected a time in UTC such as 2030-12-31T23:59:59Z, before the year 9900')
    WHERE new.not_before IS NOT NULL
        AND (typeof(new.not_before) <> 'text' OR new.not_before NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
            OR coalesce(julianday(new.not_before) >= julianday('9900-01-01'), 1));
    SELECT RAISE(ABORT, 'ordered: expected 0 or 1') WHERE new.ordered IS NOT NULL AND new.ordered NOT IN (0, 1);
    INSERT INTO pillarbox_encode (id, channel, recipient, content, body, "key", ordered, is_later, now_ms, due_ms,
        expires_ms, max_attempts, tenant, origin)
    SELECT {new_id}, new.channel, new.recipient, json(new.content), CAST(new.content -> '$.payload' AS BLOB),
        new."key", coalesce(new.ordered, 1),
        new.not_before IS NOT NULL, its.now_ms, max(its.now_ms, its.asked_ms),
        iif(new.ttl IS 'none', NULL,
            max(its.now_ms, its.asked_ms) + CAST(coalesce(new.ttl, 3600) * 1000 AS INTEGER)),
        coalesce(new.max_attempts, 5), coalesce(new.tenant, ''), new.origin
    FROM (
        SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) AS now_ms,
            coalesce(CAST(round((julianday(new.not_before) - 2440587.5) * 86400000) AS INTEGER), 0) AS asked_ms
    ) its;
END;

CREATE TRIGGER pillarbox_encode_insert INSTEAD OF INSERT ON pillarbox_encode BEGIN
    INSERT INTO pillarbox_accept (id, channel, recipient, content, "key", ordered, is_later, now_ms, due_ms, expires_ms,
        max_attempts, tenant, origin)
    SELECT new.id, new.channel, new.recipient,
        iif(new.body IS NULL, new.content, json_set(new.content, '$.payload', (
            -- Base64: three bytes are four characters, and what is missing at the end is '='.
            SELECT substr(group_concat(four.characters, ''), 1, (4 * length(new.body) + 2) / 3)
                || substr('==', 1, (3 - length(new.body) % 3) % 3)
            FROM (
                SELECT substr({base64}, 1 + (three.bits >> 18 & 63), 1) || substr({base64}, 1 + (three.bits >> 12 & 63), 1)
                    || substr({base64}, 1 + (three.bits >> 6 & 63), 1) || substr({base64}, 1 + (three.bits & 63), 1)
                    AS characters
                FROM (
                    SELECT ((((instr({hex}, substr(digits.six, 1, 1)) * 16 + instr({hex}, substr(digits.six, 2, 1))) * 16
                        + instr({hex}, substr(digits.six, 3, 1))) * 16 + instr({hex}, substr(digits.six, 4, 1))) * 16
                        + instr({hex}, substr(digits.six, 5, 1))) * 16 + instr({hex}, substr(digits.six, 6, 1)) - 1118481
                        AS bits
                    FROM (
                        SELECT hex(substr(new.body, 3 * place.key + 1, 3)) || '0000' AS six FROM json_each('['
                            || substr(replace(hex(zeroblob((length(new.body) + 2) / 3)), '00', ',0'), 2) || ']') place
                        ORDER BY place.key LIMIT -1
                    ) digits LIMIT -1
                ) three
            ) four
        ), '$.content_type', coalesce(json_extract(new.content, '$.content_type'), 'application/json'))),
        new."key", new.ordered, new.is_later, new.now_ms, new.due_ms, new.expires_ms, new.max_attempts, new.tenant,
        new.origin;
END;

CREATE TRIGGER pillarbox_accept_insert INSTEAD OF INSERT ON pillarbox_accept BEGIN
    SELECT RAISE(ABORT, 'key: it belongs to another message, which has other content or another route')
    FROM message_key k WHERE k.tenant = new.tenant AND k."key" = new."key"
        AND k.digest <> CAST(new.channel || char(31) || new.recipient || char(31) || new.content AS BLOB);
    INSERT INTO queue (tenant, channel, paused_at, paused_until, pause_reason, paused_by)
    SELECT new.tenant, new.channel, p.paused_at, p.paused_until, p.pause_reason, p.paused_by
    FROM (SELECT 1) LEFT JOIN channel_pause p
        ON p.channel = new.channel AND (p.paused_until IS NULL OR p.paused_until > new.now_ms)
    WHERE NOT EXISTS (SELECT 1 FROM queue q WHERE q.tenant = new.tenant AND q.channel = new.channel);
    INSERT INTO policy (spec) SELECT '{}' WHERE NOT EXISTS (SELECT 1 FROM policy WHERE spec = '{}');
    INSERT INTO payload (content) SELECT new.content WHERE length(CAST(new.content AS BLOB)) > 2048
        AND NOT EXISTS (SELECT 1 FROM message_key k WHERE k.tenant = new.tenant AND k."key" = new."key");
    INSERT INTO message (id, queue, recipient, policy, created_at, max_attempts, due_at, floating, not_before, expires_at,
        content, payload, content_size, "key", lane, origin)
    SELECT new.id, (SELECT q.id FROM queue q WHERE q.tenant = new.tenant AND q.channel = new.channel), new.recipient,
        (SELECT p.id FROM policy p WHERE p.spec = '{}'), new.now_ms, new.max_attempts, new.due_ms, new.is_later,
        iif(new.is_later, new.due_ms, NULL), new.expires_ms,
        iif(length(CAST(new.content AS BLOB)) > 2048, NULL, new.content),
        iif(length(CAST(new.content AS BLOB)) > 2048, last_insert_rowid(), NULL), length(CAST(new.content AS BLOB)),
        new."key", iif(new.ordered, new.tenant || char(31) || new.channel || char(31, 31) || new.recipient || char(31), NULL),
        new.origin
    WHERE NOT EXISTS (SELECT 1 FROM message_key k WHERE k.tenant = new.tenant AND k."key" = new."key");
    INSERT INTO tally (queue, state, messages, bytes)
    SELECT counted.queue, 0, 1, length(CAST(new.content AS BLOB)) FROM (
        SELECT 0 AS queue UNION ALL
        SELECT q.id FROM queue q WHERE q.tenant = new.tenant AND q.channel = new.channel
    ) counted
    WHERE NOT EXISTS (SELECT 1 FROM message_key k WHERE k.tenant = new.tenant AND k."key" = new."key")
    ON CONFLICT DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
    INSERT INTO message_key (tenant, "key", digest, message_id)
    SELECT new.tenant, new."key", CAST(new.channel || char(31) || new.recipient || char(31) || new.content AS BLOB), new.id
    WHERE new."key" IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM message_key k WHERE k.tenant = new.tenant AND k."key" = new."key");
END;
