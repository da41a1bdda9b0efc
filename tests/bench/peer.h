/* The generator's sockets while they are set up: blocking, each wait bounded by WAIT_MSEC. What
 * does not come as expected is fatal. */
#pragma once

#include "liblinkproto/control.h"
#include "liblinkproto/regauth.h"
#include "liblinkproto/wsframe.h"

/* A TCP connection to 127.0.0.1:port. Its descriptor. */
int peer_connect(unsigned port);
void peer_send(int fd, const void *p, size_t n);
void peer_receive(int fd, void *p, size_t n);
/* From now on it does not block. */
void peer_set_nonblocking(int fd);

/* The opening handshake, in two steps so that many may be under way. */
void peer_send_upgrade(int fd, unsigned port);
void peer_await_upgrade(int fd);

/* Control messages. Pings that come in between are answered. */
void peer_send_text(int fd, const char *text, size_t n);
void peer_send_control(int fd, ControlType t, const char *link_id, const char *address);
/* The next message must be of type t. */
void peer_await_control(int fd, ControlType t, ControlMessage *ret);
/* An empty, masked pong. */
void peer_send_pong(int fd);

/* A host's register message, made before the clock runs. */
typedef struct Registration {
        char address[ADDRESS_CHARS + 1];
        char text[1024];
        size_t len;
} Registration;

/* n of them, each of a new key, for the relay at port (free()). */
Registration *registrations_new(size_t n, unsigned port);
/* Opens n sockets and registers each, BATCH side by side. */
void registrations_open(const Registration *rs, size_t n, unsigned port, int *fds);
