/* Every bound of liblinkipc, with its reason. */
#pragma once

enum {
        /* Unanswered operations: what docs/IPC.md allows an application. */
        REQUESTS_MAX = 1024,
        /* Bytes of unanswered CALL and ASK, which no session's credit counts: where linkd stops
           reading. */
        UNCOUNTED_BYTES_MAX = 16 * 1024 * 1024,
        /* Sessions of one connection. More than any agent admits: an agent that announces more is
           broken. */
        SESSIONS_MAX = 16384,
        SESSION_BUCKETS = 256,
        /* JSON and payload of one message: the protocol's bound (docs/PROTOCOL.md). A few bytes
         * less may be too much already, for what goes around them; the agent tells. */
        MESSAGE_BYTES_MAX = 16 * 1024 * 1024,
        /* Requests of one session that the application has not answered: linkd admits 1024. An
         * agent that sends more is broken. */
        REPLIES_MAX = 4096,
        /* Bytes of what the agent tells about a session when it opens. It is a few names. */
        INFO_BYTES_MAX = 64 * 1024,
        /* Bytes the agent may send ahead on a session: a few large messages, or many small ones. */
        WINDOW_DEFAULT = 1024 * 1024,
        /* Credit is given back in portions of this fraction of the window: few frames, and never so
         * late that a sender waits for what was taken long ago. */
        CREDIT_PORTION = 8,
        /* Above this many queued bytes credit is not queued but counted: an agent that only sends
         * and never reads would have us queue for ever. */
        OUT_BYTES_FOR_CREDIT = 256 * 1024, /* CANCEL as well, which an application could repeat */
        /* One read. Fits the socket buffer. */
        READ_BYTES = 128 * 1024,
        /* What of the output was written is cut off when it is more than this (and than the rest).
         */
        OUT_TRIM_BYTES = 64 * 1024,
        /* While frames are there to be handled, what is sent waits for the last of them, so that it
           leaves in one write; but not longer than this. */
        OUT_HOLD_USEC = 500,
        /* Buffers larger than this are given back when empty. */
        BUFFER_KEEP_BYTES = 256 * 1024,

        TIMEOUT_DEFAULT_MSEC = 30 * 1000,       /* of a request, as in docs/IPC.md */
        TIMEOUT_CALL_DEFAULT_MSEC = 120 * 1000, /* `pair` may try eight relays */
        /* How much later than the agent the library gives up, which only happens if the agent
           hangs. */
        TIMEOUT_GRACE_MSEC = 5 * 1000,
        OPEN_WAIT_SEC = 5, /* for a place in the accept queue */
};
