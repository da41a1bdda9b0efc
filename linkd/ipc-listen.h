/* The socket that applications connect to: its file, and its coming back when somebody has removed
 * it. */
#pragma once

#include <uv.h>

#include "liblinkproto/util.h"

typedef struct IpcListener IpcListener;

/* Somebody connects: uv_accept() from ipc_listener_stream(). status: negative, a libuv error. */
typedef void (*IpcAcceptFunc)(void *userdata, int status);
/* The file is there, and only the agent's user can open it: whom else it is for. 0, or negative
 * errno, with *ret_fault or without. */
typedef int (*IpcPrepareFunc)(void *userdata, char **ret_fault);

/* Listens at path in place of a socket that nobody answers on. 0, or negative errno with *ret_fault
 * in words (free()). */
int ipc_listener_new(IpcListener **ret, uv_loop_t *loop, const char *path, IpcPrepareFunc prepare,
                     IpcAcceptFunc accept, void *userdata, char **ret_fault) _must_use_;
/* Removes the socket, if it is still ours; the memory goes when libuv has closed the handle. NULL
 * is fine. */
IpcListener *ipc_listener_free(IpcListener *l);
/* NULL: there is none just now. */
uv_stream_t *ipc_listener_stream(IpcListener *l);
