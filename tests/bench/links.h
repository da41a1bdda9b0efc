/* Links through what is measured: two sockets of ours each, the subject between them. Through a
 * relay they are spliced WebSockets; through HAProxy it is a connection to its port and the one
 * that it opens to our sink. Frames on both are the same. */
#pragma once

#include "liblinkproto/wsframe.h"

typedef struct Subject {
        unsigned port; /* on 127.0.0.1 */
        int sink_fd;   /* a listening socket that a plain TCP proxy connects to; -1: a v1 relay */
        int pid;
        int core; /* that it is pinned to; -1: none */
} Subject;

typedef struct BenchLink {
        int client, host; /* non-blocking */
} BenchLink;

/* Opens n links (free()). *ret_control: the host's control socket, -1 behind a TCP proxy. */
BenchLink *links_open(const Subject *s, size_t n, int *ret_control);
/* Closes them, frees them. */
void links_close(BenchLink *links, size_t n, int control);

/* What is sent again and again: whole masked binary frames of `size` payload bytes. */
typedef struct Frames {
        uint8_t *bytes; /* owned */
        size_t len;     /* of all */
        size_t sent;    /* bytes of one frame as it is sent, */
        size_t arrives; /* and as it arrives: without the mask behind a relay */
        size_t size;
} Frames;

void frames_init(Frames *f, const Subject *s, size_t size);
void frames_done(Frames *f);
/* Sends one frame from one end of a link to the other and looks at every byte that arrives. */
void frames_check(const Frames *f, int from, int to);

/* Bytes that a frame reader has taken from a socket and not used yet. */
typedef struct FrameReader {
        int fd;
        size_t len;
        uint8_t bytes[1024];
} FrameReader;

/* Whether a whole data frame of at most 1000 bytes has come; it is dropped. Never waits. Pings are
 * passed over (the next is 30 s away). */
bool frame_arrived(FrameReader *r);
