/* Every bound of linkctl, with its unit and the reason for the number. */
#pragma once

enum {
        OPTIONS_GIVEN_MAX = 32,    /* on one command line: eight relays, and each other option */
        SUGGEST_MAX_BYTES = 32,    /* of a verb that may have been meant: twice the longest */
        SUGGEST_DISTANCE_MAX = 2,  /* characters of difference: a slip or two */
        HELP_COLUMNS = 100,        /* of a line of help, wider terminals aside */
        SOCKET_PATH_MAX = 108,     /* bytes: sun_path of unix(7) */
        TEXT_MAX_BYTES = 16777216, /* of JSON or of a payload: what one message carries */
        SECRET_MAX_BYTES = 4096,   /* a code or an invitation URI on stdin: an URI names 8 relays */
        QUEUED_LINE_BYTES = 4096,  /* one write to a pipe that poll(2) called writable: PIPE_BUF, so
                                      that it never waits */
        JSON_DEPTH_MAX = 1024,     /* containers within containers: what linkd takes */
        ERROR_TEXT_BYTES = 1024,   /* of a child's last line of stderr, as an error answer */
        DURATION_MAX_SEC = 366 * 86400, /* anything longer is a slip of the finger */
        INVITE_TTL_MAX_SEC = 7 * 86400, /* of an invitation: linkd opens none for longer */
        START_WAIT_MSEC = 1000,         /* for the socket of an agent that was just started */
        REGISTER_WAIT_MSEC = 2000, /* for a new relay to register the host: longer than a round trip
                                      around the world, not long for a person */
        POLL_MSEC = 20,            /* between two looks: not felt, and cheap */
        CONNECT_WAIT_SEC = 30,     /* for the session of an event: as long as a request waits */
        TIMEOUT_MAX_SEC = 86400,   /* of a request: linkd keeps it no longer */

        SERVE_PARALLEL = 8,       /* children at a time, by default */
        SERVE_PARALLEL_MAX = 256, /* and at most: three descriptors each */
        SERVE_TIMEOUT_SEC = 60,   /* of a child, by default: twice a request's own */
        SERVE_WAITING_MAX =
                1024, /* requests that wait for a child; linkd admits as many a session */
        SERVE_WAITING_BYTES = 33554432, /* of them together: two of the largest */
        SERVE_GRACE_MSEC = 2000, /* between SIGTERM and SIGKILL of a child nobody waits for */
        SERVE_FLUSH_MSEC = 1000, /* for answers that are on their way when serving ends */
};
