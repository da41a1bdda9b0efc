/* The bounds of the soak's application, with their reasons. */
#pragma once

enum {
        PEERS_MAX = 4,
        SESSIONS_MAX = 8, /* with a peer */
        SLOTS_MAX = 16,   /* requests in flight of a session; one-shot calls to a peer */
        NAME_MAX_BYTES = 32,
        PAD_MAX_BYTES = 50 * 1000, /* of a request: several reads and records */
        PAYLOAD_MAX_BYTES = 100 * 1000,
        MESSAGE_MAX_BYTES = PAD_MAX_BYTES + 512, /* a command: names, numbers, and the pad */
        OPEN_AGAIN_MSEC = 50,                    /* between two tries to reach the agent */
        UNSERVED_MSEC = 100,    /* until a request is asked again that nobody served */
        NO_CREDIT_MSEC = 20,    /* until a sender tries again that has no credit */
        COUNT_MSEC = 1000,      /* between two lines of counts */
        CLOSE_MSEC = 30 * 1000, /* for a session to be closed: far above a busy machine's worst */
        ECHO_CREDIT_BYTES = 512 * 1024, /* below it events are not sent back: answers come first */
};
