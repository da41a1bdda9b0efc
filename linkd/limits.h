/* Every bound of the agent, with its unit and the reason for the number. */
#pragma once

enum {
        /* Hosts, peers, devices: far above what a person keeps, low enough that a list of all fits
         * a frame and a linear search costs nothing. */
        HOSTS_MAX = 16,
        PEERS_MAX = 1024,
        DEVICES_MAX = 1024,   /* of one host */
        UPLINKS_MAX = 8,      /* of one host or peer; the same as relays in an invitation URI */
        INVITATIONS_MAX = 64, /* open at a time, of one host */
        NAME_MAX_BYTES = 64,  /* names and labels */
        CODE_MIN_BYTES =
                6, /* of a code somebody chose: shorter ones are guessed in five tries too often */
        CODE_CHARS = 6, /* of a generated code: 30^6, five guesses: one in 145 million */
        CODE_FAILURES_MAX =
                5, /* wrong confirmations that burn a code (PROTOCOL.md "Pairing rules") */
        RECOVERY_KEY_BYTES = 16, /* 128 bits: not guessed, however often it is tried */
        RECOVERIES_MAX = 5,   /* attempts with the recovery key at a time: as many as at a code */
        INVITE_TTL_SEC = 900, /* default */
        INVITE_TTL_MAX_SEC = 7 * 24 * 3600,
        DEVICE_TTL_MAX_SEC = 366 * 24 * 3600, /* who wants more gives no end */
        EXPIRY_CHECK_MSEC = 60000, /* how late a device's session may end when the clock was set, or
                                      the machine has slept */

        /* Waiting for others, milliseconds (PROTOCOL.md "Endpoints"). */
        CONNECT_MSEC = 8000,          /* name, TCP, TLS and upgrade together */
        HANDSHAKE_MESSAGE_MAX = 1024, /* bytes of a frame of a handshake: the longest has 380. Who
                                         only knows an address is not kept 16 MiB for */
        CONTROL_STEP_MSEC = 8000,     /* register, resolve, relay, accept: each answer */
        PING_INTERVAL_MSEC = 20000,   /* control sockets: finds a dead path within 25 s */
        PING_DEADLINE_MSEC = 5000,
        PROBE_DEAD_MSEC = 4500, /* of a session: looked at when the ping deadline is over */
        /* Sent, and nothing confirmed: as long as a ping interval. TCP_USER_TIMEOUT would do the
         * same, but it also ends connections whose other end is alive and holds its window shut, as
         * a relay may for a minute. */
        SESSION_DEAD_MSEC = 20000,
        NETWATCH_TICK_MSEC = 5000,   /* sessions are looked at so often */
        NETWATCH_GAP_MSEC = 3000,    /* asleep or stopped for longer: everything is tried */
        NETWATCH_SETTLE_MSEC = 200,  /* changes of the network come in bursts */
        NETWATCH_PROBE_MSEC = 2000,  /* at most so often: containers come and go all day */
        NETLINK_BUFFER_BYTES = 8192, /* the kernel's messages are not longer (a page) */
        TCP_IDLE_SEC =
                20, /* session sockets are not pinged: TCP's probes, dead after 20 + 3 * 5 s */
        TCP_PROBE_SEC = 5,
        TCP_PROBES = 3,
        /* What a closing socket may take to send each message that is queued: 16 MiB at the relays'
         * default rate of 1 MiB/s, twice. */
        FLUSH_MSEC = 32000,
        STOP_MSEC = 1000, /* the same for all of them when the agent stops */
        UPLINK_BACKOFF_MIN_MSEC = 500,
        UPLINK_BACKOFF_MAX_MSEC = 4000,
        UPLINK_REPLACED_MSEC = 30000, /* another socket took the address: do not fight it */
        /* A relay's clock that is so far from ours explains a refused signature (it allows 300 s,
         * and its Date may be some seconds old); farther than a day it is not believed. */
        CLOCK_OFFSET_MIN_MSEC = 240000,
        CLOCK_OFFSET_MAX_MSEC = 24 * 3600 * 1000,
        SELF_CHECK_SEC = 300, /* default: a host resolves itself at each of its relays so often */
        SELF_CHECK_MAX_SEC = 24 * 3600,
        PEER_BACKOFF_MIN_MSEC = 400,
        PEER_BACKOFF_MAX_MSEC = 8000,
        /* Of a host that its relay does not know: after a restart of the relay the host is back
         * within 4 s, so its clients do not wait much longer than that. 400 ms << 3. */
        PEER_ABSENT_STEP = 3,
        /* When the first session with a host is back, the others do not wait out their back-off,
         * but come spread over this. */
        PEER_FOLLOW_MSEC = 3000,
        PEER_HURRY_MSEC = 2000, /* an application's call cuts a back-off short, so often at most */
        STOOD_MSEC =
                10000, /* a connection that lived so long was a success: back-off begins anew */
        RACE_STEP_MSEC = 300, /* a relay that has not introduced us by then: the next starts too */
        REQUEST_TIMEOUT_MSEC = 30000, /* default */
        REQUEST_TIMEOUT_MAX_MSEC = 24 * 3600 * 1000,
        SESSION_IDLE_MSEC = 600000,      /* no frame either way: closed */
        SESSION_KEEPALIVE_MSEC = 100000, /* a third of the relays' idle window of 300 s */
        ASK_KEEP_MSEC = 60000,           /* a user's shared session after its last one-shot call */
        FRAMED_WAIT_MSEC = 5000, /* of a new session: payloads wait this long for the peer's cap */
        APP_STALL_MSEC = 25000,  /* an application that does not read: its session ends, before a
                                    relay ends it for unanswered pings */
        LAST_SEEN_MSEC = 60000,  /* how often last-seen times are written */

        /* Looking for what is wrong. */
        PROBE_STEP_MSEC = 5000,    /* of a step: all four end before an application's 30 s do */
        PROBE_ANSWER_BYTES = 4096, /* of the head of an answer: ours has 200 */
        PROBE_ADDRESSES_MAX = 8,   /* of a name that are tried */
        CLOCK_NOTE_SEC = 30,       /* a difference that is worth telling */
        CLOCK_REFUSED_SEC = 300,   /* beyond it relays refuse (PROTOCOL.md "Registration") */
        PROBES_MAX = 64,           /* relays at a time: two descriptors each */

        STATUS_DELAY_MSEC = 100, /* changes are told to the service manager together */

        DIALBACKS_MAX = 64,          /* in flight at a relay (PROTOCOL.md "Endpoints") */
        DIALBACKS_WAITING_MAX = 512, /* beyond these, at a relay: a link id each. A relay that names
                                        more of them at a time does not mean well */
        DIALBACK_SILENT_MSEC = 2000, /* while others wait, a client that says nothing has a slot for
                                        so long: an honest one speaks first, and at once */
        DIALBACK_WAIT_MSEC = 8000,   /* for a slot: the client waits no longer for `relaying` */
        HOST_SESSIONS_MAX = 4096,    /* live sessions of a host: one descriptor each */
        DEVICE_SESSIONS_MAX = 64, /* live sessions of one device: it is one machine. A new one that
                                     has proved itself takes the place of the oldest */
        /* And so of one peer, as this machine's share of its host: what applications open, and the
         * one-shot calls' own, one a user. */
        PEER_SESSIONS_MAX = 56,
        PEER_ASKS_MAX = 8,
        /* Sessions whose client has not sent a sealed frame yet, of one host. An honest one sends
         * its cap at once; a replayed first message never can. The oldest goes for a new one. */
        HOST_UNPROVEN_MAX = 64,

        CONFIG_BYTES_MAX = 1024 * 1024, /* linkd.conf: a list for each peer there can be */
        ACCESS_NAMES_MAX = 256,         /* users and groups of an access list */
        PINS_MAX = 1024,                /* relays with a pinned key, in the configuration */

        /* Connecting (dial.h), milliseconds. */
        DIAL_STEP_MSEC = 250,   /* to the start of the next address (RFC 8305 section 5) */
        DIAL_AGAIN_MSEC = 2500, /* all addresses anew: TCP's own retries come after 1, 3, 7 s, and a
                                   path that comes back must not wait for the last of them */
        DIAL_PROXY_MSEC = 3000, /* a proxy that has not let us through: also without it */
        DIAL_SOCKETS_MAX =
                16, /* open at a time, of one dial: four rounds of two addresses, twice */
        DIAL_ADDRESSES_MAX = 8, /* of a name, that are tried */
        PROXY_REPLY_MAX = 4096, /* bytes of a proxy's answer */

        /* Asking relays (pace.h). */
        RELAY_BUDGET = 60,       /* registers and resolves a minute: the relays' default */
        RELAY_BUDGET_MAX = 6000, /* that can be configured: eight bytes each a relay */
        PACE_REGISTER_SHARE = 5, /* a fifth of it is for registers only */
        PACE_RELAYS_MAX = 1024,  /* remembered */
        PACE_UNKNOWN_MAX = 1024, /* addresses, a relay: as many as peers */
        /* A host is back at a restarted relay after its longest back-off of 4 s, and a restarted
         * host's machine soon: five times that. A time and no number, since every session of a peer
         * asks by itself. */
        PACE_UNKNOWN_FREE_MSEC = 20000,
        PACE_UNKNOWN_MSEC = 60000,
        PACE_SUSPECT_MSEC = 60000, /* a relay where a handshake failed is not raced for so long */

        /* Descriptors: all sessions of two full hosts and all applications. The system's
         * own limit may be a milliard. */
        OPEN_FILES_MAX = 16384,
        FILES_LEFT_MAX = 128, /* that sessions leave to applications, at most (files.h) */

        /* IPC. */
        IPC_SOCKET_CHECK_MSEC = 5000, /* whether the socket's file is still there */
        IPC_CONNECTIONS_MAX = 512,
        IPC_CONNECTIONS_RESERVED = 32, /* of these, for root and the agent's own user */
        IPC_CONNECTIONS_UID_MAX =
                128,              /* of any other user: it takes four of them to fill the rest */
        IPC_SESSIONS_MAX = 256,   /* that one connection opens; incoming ones count for the host */
        IPC_REQUESTS_MAX = 1024,  /* unanswered, of one connection */
        UNKNOWN_NAME_BYTES = 256, /* a longer name is not repeated when it is told that there is
                                     no such thing */
        IPC_READ_BYTES = 256 * 1024, /* one read: more than a socket holds by default */
        IPC_HELLO_MAX = 4096,        /* bytes before the hello */
        IPC_HELLO_MSEC = 10000,      /* until it: a connection that says nothing takes a place */
        /* Frames that have begun and are not whole. Small ones are bounded by the connections; for
         * a larger one its whole length is set aside before it is read on: four of the largest for
         * each user, sixteen for all but root and the agent's own user. */
        IPC_FRAME_SMALL_BYTES = 64 * 1024,
        IPC_IN_UID_BYTES_MAX = 4 * (16 * 1024 * 1024 + 64 * 1024 + 4),
        IPC_IN_BYTES_MAX = 16 * (16 * 1024 * 1024 + 64 * 1024 + 4),
        IPC_ACCEPT_AGAIN_MSEC = 100, /* out of memory: nothing else helps than waiting */
        IPC_FRAME_MSEC =
                30000, /* a large frame must be whole by then, unless linkd does not read */
        IPC_UNANSWERED_BYTES_MAX = 16 * 1024 * 1024, /* of CALL and ASK */
        IPC_OUT_HIGH_BYTES = 1024 * 1024, /* above it the connection's sessions are not read */
        /* Above it the connection is not read: more than sessions alone can reach, with the largest
         * frame on top of the mark, so that an application that writes first and reads then is only
         * stopped by answers it does not fetch. */
        IPC_OUT_STOP_BYTES = 18 * 1024 * 1024,
        IPC_CLOSE_MSEC = 5000, /* what a last ERROR may take to leave */
        /* Up to it answers of ASKs are queued, so that a hostile host cannot fill what is left for
         * answers, errors and states, and have the connection cut. */
        IPC_OUT_ASK_BYTES_MAX = 48 * 1024 * 1024,
        IPC_OUT_MAX_BYTES =
                64 * 1024 * 1024, /* answers and states pile up behind a dead reader: cut */
        /* The same for all connections of a user: two dead readers, or eight of the largest answers
         * that come at a time. Above it the connection that has the most is cut. */
        IPC_OUT_UID_BYTES_MAX = 2 * 64 * 1024 * 1024,
        SESSION_WINDOW_BYTES = 1024 * 1024, /* what an application may send ahead, a session */
        SESSION_RETAIN_BYTES =
                4 * 1024 *
                1024, /* unanswered requests kept to be sent again; above, credit waits */
        INCOMING_REQUESTS_MAX = 1024, /* unanswered by the application, of one session */
        OWN_ANSWERS_MAX = 1024, /* "no request handler" and the like that wait to be written: above,
                                   the session is not read */
        ID_TEXT_MAX = 64,       /* characters of a remote request's id: a double has 25 */

        /* Lines that a relay or an application can cause without end, of each uplink or socket:
         * more than any honest trouble needs, far below what journald itself would cut. */
        LOG_LIMIT_LINES = 30,
        LOG_LIMIT_MSEC = 60000,

        /* A message that has begun to come must go on: half a KiB/s, a tenth of a bad phone line,
         * and not so soon that a handover between networks ends it. */
        MESSAGE_STEP_MSEC = 20000,
        MESSAGE_STEP_BYTES = 10 * 1024,
        /* Unfinished and untaken messages of all sessions together: eight of the largest. */
        HOARD_BYTES_MAX = 128 * 1024 * 1024,
        WS_READ_BYTES =
                128 * 1024, /* one read, for all connections together; 256 KiB were slower */
        WS_BATCH_BYTES = 64 * 1024, /* framed at a time: many small messages leave in one write, and
                                       a large one is never there twice */
        WS_MASKS = 256, /* drawn at a time: a system call for each would cost as much as sealing */
        ANSWER_HEAD_MAX = 8 * 1024, /* bytes of the answer to an upgrade */
        CLOSE_ANSWER_MSEC = 2000,   /* for the other end's answer to our close frame */
        MALLOC_KEEP_BYTES =
                2 * 1024 * 1024, /* free memory that is kept: what two windows full of a busy
                                    session take, and not so much that an idle agent is large */
        RECORD_MAX_BYTES = 64 * 1024,
        UNREADABLE_REPORT_MAX = 32, /* records named in `status`; the log has all */
};
