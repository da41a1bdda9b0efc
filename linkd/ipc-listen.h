/* The socket that applications connect to: its file, and its coming back when somebody has removed
 * it. */
#pragma once

#include <uv.h>

#include "liblinkproto/util.h"

typedef struct IpcListener IpcListener;

/* Somebody connects: uv_accept() from stream. status: negative, a libuv error. */
typedef void (*IpcAcceptFunc)(void *userdata, uv_stream_t *stream, int status);

/* Listens at path, mode 0660, in place of a socket that nobody answers on. 0, or negative errno
 * with *ret_fault in words (free()). */
int ipc_listener_new(IpcListener **ret, uv_loop_t *loop, const char *path, IpcAcceptFunc func,
                     void *userdata, char **ret_fault) _must_use_;
/* Removes the socket, if it is still ours; the memory goes when libuv has closed the handle. NULL
 * is fine. */
IpcListener *ipc_listener_free(IpcListener *l);
const char *ipc_listener_path(const IpcListener *l);
