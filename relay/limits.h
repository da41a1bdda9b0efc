/* Every bound of link-relay, with its reason. */
#pragma once

enum {
        /* ---- a connection before it is a WebSocket ---- */
        HEAD_BYTES_MAX =
                8 * 1024,      /* request head: what browsers and proxies send fits many times */
        HEAD_MSEC = 10 * 1000, /* for the whole head: a slow one costs a descriptor for no longer */
        /* Connections without a whole head: at 8 KiB each 32 MiB. Above it the oldest goes, which
         * has had longest; an honest head comes within a round trip. */
        HEADS_MAX = 4096,
        HTTP_MSEC = 30 * 1000, /* for an HTTP answer to be taken, all of it */
        /* /v1/stats with more live links than this is made at most once in STATS_MSEC; more than
         * STATS_LINKS_MAX are counted but not listed. */
        STATS_FRESH_LINKS = 256,
        STATS_LINKS_MAX = 10000,
        STATS_MSEC = 1000,
        /* Descriptors that are not connections: loop, listeners, log, spare. */
        RESERVED_FILES = 32,
        LOG_REPEAT_MSEC = 10 * 1000, /* between two complaints about the same */

        /* ---- wire.md section 5 ---- */
        ROLE_MSEC = 30 * 1000,      /* for the first valid control message */
        PING_MSEC = 30 * 1000,      /* between pings; not answered by the next: dropped */
        STALL_MSEC = 60 * 1000,     /* an end that takes nothing this long while data waits: 4006 */
        STALL_LOOK_MSEC = 5 * 1000, /* how often it is looked at: one system call */
        /* What the kernel holds for an end that takes nothing. Beyond the two above, which close
         * with a code. */
        USER_TIMEOUT_MSEC = STALL_MSEC + PING_MSEC,
        USAGE_MSEC = 1000, /* between two usage pushes of a link */
        RECENT_LINKS = 32, /* recentlyClosed of /v1/stats */

        /* For the peer's answer to a close frame: a round trip of any real network. */
        LINGER_MSEC = 5 * 1000,
        /* The same when the relay stops: a restart must not wait for peers that are gone. */
        STOP_LINGER_MSEC = 1000,
        /* What systemd is told that a stop takes beyond the drain: the above, and a busy machine.
         */
        STOP_NOTICE_MSEC = 10 * 1000,
        /* One read, and with it what may be waiting for a stalled end. Above the message sizes that
         * matter, within a core's cache. */
        READ_BYTES = 256 * 1024,
        /* What the kernel keeps for an end beyond what is on its way to it. Else an end that takes
         * nothing fills its send buffer, of up to 4 MiB (tcp_wmem): some hundred of them were
         * enough to use up all of a machine's TCP memory (tcp_mem), and everybody stood still. */
        UNSENT_BYTES = 256 * 1024,
        /* Control text that waits for an end: `usage` of as many links as a host may have. */
        CONTROL_OUT_MAX = 1024 * 1024,
        /* One `usage` message: what an endpoint must accept (wire.md section 2). More links than
         * fit are told in further messages. */
        USAGE_BYTES_MAX = 256 * 1024,
        ADDRESSES_PER_SOCKET_MAX = 1024, /* identities of one machine: far above any real number */
        ACCEPTS_PER_WAKE = 64,           /* then the loop sees to the others */
        ACCEPT_PAUSE_MSEC = 100, /* when there is no descriptor: nothing else helps than waiting */
        LISTENERS_MAX = 16,
        CONFIG_BYTES_MAX =
                1024 * 1024,       /* relay.conf: 20,000 keys; more belong into their own file */
        KEYS_LINE_MAX = 64 * 1024, /* bytes of a line of allowed_register_keys_file: what is no text
                                      may have no end */

        /* ---- bounds on tables ---- */
        /* Signatures that are remembered against replay: 10 minutes of 400 registers a second; 96
         * bytes each. When full, the oldest go and everything as old is refused. */
        REPLAY_MAX = 256 * 1024,
        /* Client addresses with a budget under way: 64 bytes each. When full, new ones are refused.
         */
        IPS_MAX = 256 * 1024,
        IP_WINDOW_MSEC = 60 * 1000, /* LINK_IP_RATE_PER_MIN */
        IP_BURST_SEC = 10,          /* of accepts: a whole site comes back at once */

        SWEEP_MSEC = 100,  /* the coarse clock of all deadlines that may be late by that much */
        WHEEL_MSEC = 4,    /* granularity of shaping holds */
        WHEEL_SLOTS = 512, /* two seconds; a longer hold is passed by at each turn */
};
