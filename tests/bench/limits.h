/* The bounds of the load generator, with their reasons. */
#pragma once

enum {
        /* For anything that must happen: far above a busy machine's worst, also with sanitizers. */
        WAIT_MSEC = 60 * 1000,
        SOCKETS_MAX = 18 * 1000, /* of one run: below the usual 20,000 descriptors of a process */
        LINKS_MAX = 1000,        /* two sockets each */
        SIZE_MAX_BYTES = 16 * 1024 * 1024, /* payload of a message (wire.md section 2) */
        CHUNK_BYTES = 256 * 1024,          /* frames that are sent again and again: at least one */
        RECEIVE_BYTES = 256 * 1024,        /* one read */
        BATCH = 64,                        /* sockets that are set up side by side */
        SAMPLES_MAX = 1000 * 1000,         /* round trips of one run: 10 s of 10 us each */
};
