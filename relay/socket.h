/* The system calls on a connection's socket, and its place in the loop. Nothing else touches them,
 * so that a simulated network can stand in its place. */
#pragma once

#include "conn.h"

/* c->fd and c->relay are set. 0 or negative errno. */
int socket_init(Conn *c) _must_use_;
/* UV_READABLE | UV_WRITABLE, or 0. */
void socket_watch(Conn *c, int events);
/* Bytes; 0: the peer has ended; -EAGAIN; other negative errno. */
ssize_t socket_read(Conn *c, void *p, size_t n);
ssize_t socket_write(Conn *c, const void *p, size_t n);
/* Bytes that were written and that the peer's end has not acknowledged; 0: none, or it is not
 * known. */
size_t socket_unacknowledged(const Conn *c);
/* No more will be sent. */
void socket_shutdown(Conn *c);
/* Closes it; func is called later, from the loop. */
void socket_close(Conn *c, void (*func)(Conn *c));
