/* Handlers that note what they saw, and sessions that have them. */
#pragma once

#include "agent.h"

typedef struct Log {
        TestAgent *agent;
        linkipc_session *session; /* of the last state */
        int states, events, requests, writables, cancels;
        int state;
        char event[64], payload[64], command[64];
        size_t event_len, payload_len;
        bool has_payload;
        linkipc_reply *reply; /* taken, if keep */
        bool keep;
        const char *answer;
} Log;

void log_state(linkipc_session *s, int state, void *userdata);
void log_event(linkipc_session *s, const char *data, size_t len, const void *payload,
               size_t payload_len, void *userdata);
void log_request(linkipc_session *s, linkipc_reply *reply, const char *command, size_t len,
                 void *userdata);
void log_writable(linkipc_session *s, void *userdata);
void log_cancel(linkipc_reply *r, void *userdata);
/* Sets all handlers of a connection. */
void listen_all(linkipc *l, Log *log);
/* A connected session with number 1 and the agent's window. */
linkipc_session *connected(TestAgent *a, Log *log, uint32_t window);
/* The application serves, and session 1 has come. */
linkipc_session *served(TestAgent *a, Log *log, uint32_t window);
/* Of a frame with such a body. */
size_t frame_len(size_t body);
