/* The agent's WebSocket client: the thin edge between sockets and everything that speaks in
 * messages. Outbound only. dial.h brings the connection about; TLS is OpenSSL's; the upgrade and
 * the frames are liblinkproto's. */
#pragma once

#include <uv.h>

#include "liblinkproto/buf.h"
#include "settings.h"

typedef struct WsLoop WsLoop; /* all connections on the daemon's uv loop */
typedef struct Ws Ws;         /* one connection */
typedef struct Hoard Hoard;

/* What an owner hears. All on the loop's thread; any of them may free the Ws. */
typedef struct WsHandler {
        void (*on_open)(void *userdata);
        /* A whole message. data may be changed by the receiver and is gone after the call. */
        void (*on_message)(void *userdata, bool text, uint8_t *data, size_t len);
        /* A message of len bytes has been handed whole to the kernel or to TLS. May be NULL. */
        void (*on_written)(void *userdata, size_t len);
        /* The end; nothing follows. code: the close code that came, 0 if none. The owner still
         * calls ws_free. */
        void (*on_closed)(void *userdata, unsigned code, const char *reason);
} WsHandler;

/* A message on its way out. */
typedef struct WsMessage {
        struct WsMessage *next;
        bool text;
        size_t len;
        uint8_t *data;  /* len bytes, to be filled by who made it */
        uint8_t *owned; /* free(); NULL: data is part of this allocation */
} WsMessage;

/* 0 or negative errno. loop, settings and hoard must outlive it. What settings holds may change:
 * dials that begin later go by it, see ws_loop_settings_changed. */
int ws_loop_new(WsLoop **ret, uv_loop_t *loop, const Settings *settings, Hoard *hoard) _must_use_;
/* The settings have changed: TLS is set up anew for the next dial, also when the file of CAs has
 * the same name. Connections that stand, and dials under way, keep what they began with. */
void ws_loop_settings_changed(WsLoop *l);
/* Begins the end: connections, whose owners have freed them all before, may flush for STOP_MSEC;
 * what is left is cut then. The uv loop runs until that is done. */
void ws_loop_stop(WsLoop *l);
/* Only after ws_loop_stop and once the uv loop has nothing left to run. NULL is fine. */
WsLoop *ws_loop_free(WsLoop *l);

/* Starts to connect to a normalized relay URL at /v1/link?a=ADDRESS (address NULL: no query).
 * on_open or on_closed follows, never from inside this call; within timeout_msec. 0; -EINVAL;
 * -ENOMEM. */
int ws_dial(Ws **ret, WsLoop *l, const char *url, const char *address, uint64_t timeout_msec,
            const WsHandler *handler, void *userdata) _must_use_;
/* While it connects: begins anew with fresh sockets beside those that hang. */
void ws_dial_again(Ws *w);
void ws_set_handler(Ws *w, const WsHandler *handler, void *userdata);
/* Sends a ping every interval; a ping unanswered (by anything) for deadline ends the connection. */
int ws_keepalive(Ws *w, uint64_t interval_msec, uint64_t deadline_msec) _must_use_;
/* Sends a ping now, on a connection with ws_keepalive. */
void ws_probe(Ws *w);
/* For how long the other end's TCP has confirmed nothing of what was sent; 0: all is confirmed. */
uint64_t ws_unconfirmed_msec(const Ws *w);
/* The Date of the answer to the upgrade, milliseconds since the epoch; 0: there was none. */
int64_t ws_server_date_msec(const Ws *w);
/* Largest message taken (default CONTROL_ENDPOINT_MAX); a larger one ends the connection with 1009.
 */
void ws_set_message_max(Ws *w, size_t bytes);

/* NULL: out of memory. */
WsMessage *ws_message_new(size_t len, bool text);
/* A binary one of what b holds, which is empty then. */
WsMessage *ws_message_take(Buf *b);
WsMessage *ws_message_free(WsMessage *m);
/* Queues a message and takes it over, also on failure. 0; -ENOTCONN. The queue's bound is its
 * user's affair: see ws_queued_bytes. */
int ws_send(Ws *w, WsMessage *m) _must_use_;
int ws_send_text(Ws *w, const char *text, size_t len) _must_use_;
size_t ws_queued_bytes(const Ws *w);
/* Messages that on_written has not been called for yet. */
size_t ws_n_unwritten(const Ws *w);
/* Bytes of a message that has begun to come and is not whole. */
size_t ws_unfinished_bytes(const Ws *w);
/* Stops or resumes reading from the network. A message or two that were read may still come. */
void ws_pause(Ws *w, bool paused);

/* Ends it without a further callback: what is queued is sent first (FLUSH_MSEC a message at most),
 * then a close frame 1000. NULL is fine. */
Ws *ws_free(Ws *w);
/* The same, but what is queued is dropped. code: close code to send. */
Ws *ws_kill(Ws *w, unsigned code);
