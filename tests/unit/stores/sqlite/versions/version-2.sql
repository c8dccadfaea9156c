BEGIN TRANSACTION;
CREATE TABLE agents (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        definition BLOB NOT NULL,
        UNIQUE (session_id, agent_id)
    );
INSERT INTO "agents" VALUES(1,'one','agent',X'0A036F6E65');
CREATE TABLE calls (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        key TEXT NOT NULL,
        used_for BLOB NOT NULL,
        began_at REAL NOT NULL,
        ends_at REAL,
        answer BLOB,
        UNIQUE (session_id, key)
    );
INSERT INTO "calls" VALUES(1,'one','kept',X'646967657374',1.79608458278594422335e+09,1.79608518278640437123e+09,X'08012A1D7468652D76616C75652D746861742D6E6F626F64792D6D61792D736565');
INSERT INTO "calls" VALUES(2,'one','unfinished',X'646967657374',1.79608458278620433806e+09,NULL,NULL);
CREATE TABLE changes (
        revision INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        name TEXT NOT NULL,
        operation TEXT NOT NULL,
        previous INTEGER NOT NULL,
        at REAL NOT NULL,
        secret INTEGER NOT NULL,
        type TEXT,
        size INTEGER,
        held INTEGER,
        created_at REAL,
        created_by TEXT,
        tags TEXT,
        type_url TEXT,
        value BLOB
    );
INSERT INTO "changes" VALUES(1,'one','a','set',0,2.5,1,'string',82,100,1.5,'s',NULL,'type.googleapis.com/google.protobuf.StringValue',X'0A1D7468652D76616C75652D746861742D6E6F626F64792D6D61792D736565');
INSERT INTO "changes" VALUES(2,'one','b','set',0,2.5,1,'string',82,100,1.5,'s',NULL,'type.googleapis.com/google.protobuf.StringValue',X'0A1D7468652D76616C75652D746861742D6E6F626F64792D6D61792D736565');
INSERT INTO "changes" VALUES(3,'one','a','update',1,2.5,1,'string',82,100,1.5,'s',NULL,'type.googleapis.com/google.protobuf.StringValue',X'0A1D7468652D76616C75652D746861742D6E6F626F64792D6D61792D736565');
CREATE TABLE chunks (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        is_last INTEGER NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (session_id, run_id, sequence)
    );
INSERT INTO "chunks" VALUES(1,'one','run',0,0,X'6368756E6B');
INSERT INTO "chunks" VALUES(2,'one','run',1,1,X'6368756E6B');
CREATE TABLE ended_sessions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL UNIQUE,
        why TEXT NOT NULL,
        ended_at REAL NOT NULL
    );
INSERT INTO "ended_sessions" VALUES(1,'gone','it was removed',1.79608458278482556336e+09);
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "facts" VALUES('epoch','5c3582396f8e4ae1824778f175f71aff');
INSERT INTO "facts" VALUES('id','e329afd5980f4d609e144078c4418ea6');
INSERT INTO "facts" VALUES('log',2);
CREATE TABLE present (revision INTEGER PRIMARY KEY);
INSERT INTO "present" VALUES(2);
INSERT INTO "present" VALUES(3);
CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        digest BLOB NOT NULL,
        started_at REAL NOT NULL,
        UNIQUE (session_id, run_id)
    );
INSERT INTO "runs" VALUES(1,'one','run','agent',X'646967657374',3.5);
CREATE TABLE sessions (
        session_id TEXT PRIMARY KEY,
        created_at REAL NOT NULL,
        request BLOB NOT NULL,
        history_floor INTEGER NOT NULL DEFAULT 0,
        lost_delete INTEGER NOT NULL DEFAULT 0
    , access BLOB) WITHOUT ROWID;
INSERT INTO "sessions" VALUES('one',1000.0,X'',0,0,NULL);
INSERT INTO "sessions" VALUES('two',1001.0,X'',0,0,NULL);
CREATE TRIGGER session_begun AFTER INSERT ON sessions
    BEGIN
        DELETE FROM ended_sessions WHERE session_id = NEW.session_id;
        DELETE FROM changes WHERE session_id = NEW.session_id;
        DELETE FROM calls WHERE session_id = NEW.session_id;
        DELETE FROM agents WHERE session_id = NEW.session_id;
        DELETE FROM runs WHERE session_id = NEW.session_id;
        DELETE FROM chunks WHERE session_id = NEW.session_id;
    END;
CREATE TRIGGER session_ended AFTER INSERT ON ended_sessions
    BEGIN
        DELETE FROM sessions WHERE session_id = NEW.session_id;
    END;
CREATE INDEX changes_by_session ON changes (session_id, revision, size);
CREATE INDEX deletions ON changes (session_id) WHERE operation = 'delete';
CREATE TRIGGER change_added AFTER INSERT ON changes
    BEGIN
        DELETE FROM present WHERE revision = NEW.previous;
        INSERT INTO present SELECT NEW.revision WHERE NEW.operation <> 'delete';
        DELETE FROM changes WHERE revision = NEW.previous
            AND revision <= (SELECT history_floor FROM sessions WHERE session_id = NEW.session_id);
    END;
CREATE TRIGGER change_removed AFTER DELETE ON changes
    BEGIN
        DELETE FROM present WHERE revision = OLD.revision;
    END;
CREATE INDEX calls_by_end ON calls (ends_at) WHERE ends_at IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('ended_sessions',1);
COMMIT;
