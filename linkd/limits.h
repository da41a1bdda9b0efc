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
        LWS_TIMEOUT_SEC = 60,         /* libwebsockets' own: never the first to fire */
        HANDSHAKE_MESSAGE_MAX = 1024, /* bytes of a frame of a handshake: the longest has 380. Who
                                         only knows an address is not kept 16 MiB for */
        CONTROL_STEP_MSEC = 8000,     /* register, resolve, relay, accept: each answer */
        PING_INTERVAL_MSEC = 20000,   /* control sockets: finds a dead path within 25 s */
        PING_DEADLINE_MSEC = 5000,
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
        PEER_BACKOFF_MIN_MSEC = 400,
        PEER_BACKOFF_MAX_MSEC = 8000,
        STOOD_MSEC =
                10000, /* a connection that lived so long was a success: back-off begins anew */
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

        DIALBACKS_MAX = 64,       /* in flight at a relay (PROTOCOL.md "Endpoints") */
        HOST_SESSIONS_MAX = 4096, /* live sessions of a host: one descriptor each */
        DEVICE_SESSIONS_MAX = 64, /* live sessions of one device: it is one machine */

        /* Descriptors: all sessions of two full hosts and all applications. libwebsockets makes
         * tables of this size, so that the system's own limit (a milliard in places) will not do.
         */
        OPEN_FILES_MAX = 16384,

        /* IPC. */
        IPC_CONNECTIONS_MAX = 512,
        IPC_SESSIONS_MAX = 256,   /* that one connection opens; incoming ones count for the host */
        IPC_REQUESTS_MAX = 1024,  /* unanswered, of one connection */
        UNKNOWN_NAME_BYTES = 256, /* a longer name is not repeated when it is told that there is
                                     no such thing */
        IPC_HELLO_MAX = 4096,     /* bytes before the hello */
        IPC_UNANSWERED_BYTES_MAX = 16 * 1024 * 1024, /* of CALL and ASK */
        IPC_OUT_HIGH_BYTES = 1024 * 1024, /* above it the connection's sessions are not read */
        /* Above it the connection is not read: more than sessions alone can reach, with the largest
         * frame on top of the mark, so that an application that writes first and reads then is only
         * stopped by answers it does not fetch. */
        IPC_OUT_STOP_BYTES = 18 * 1024 * 1024,
        IPC_CLOSE_MSEC = 5000, /* what a last ERROR may take to leave */
        IPC_OUT_MAX_BYTES =
                64 * 1024 * 1024, /* answers and states pile up behind a dead reader: cut */
        SESSION_WINDOW_BYTES = 1024 * 1024, /* what an application may send ahead, a session */
        SESSION_RETAIN_BYTES =
                4 * 1024 *
                1024, /* unanswered requests kept to be sent again; above, credit waits */
        INCOMING_REQUESTS_MAX = 1024, /* unanswered by the application, of one session */
        OWN_ANSWERS_MAX = 1024, /* "no request handler" and the like that wait to be written: above,
                                   the session is not read */
        ID_TEXT_MAX = 64,       /* characters of a remote request's id: a double has 25 */

        WS_RX_CHUNK_BYTES =
                16 *
                1024, /* libwebsockets' receive buffer, one a socket: 4 KiB costs half the speed */
        RECORD_MAX_BYTES = 64 * 1024,
        UNREADABLE_REPORT_MAX = 32, /* records named in `status`; the log has all */
};
