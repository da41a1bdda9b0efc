/* The other end of a connection under test: an agent that does what the test tells it, byte by byte
 * or frame by frame, on a real socket. */
#pragma once

#include <errno.h>
#include <linkipc.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "liblinkproto/ipcmsg.h"

enum { PATIENCE_MSEC = 20000 }; /* of this noisy machine; only a failing test waits so long */

typedef struct TestAgent {
        int fd;
        Buf in;
        size_t used;      /* of in, by the message that was returned last */
        linkipc *link;    /* NULL once the test has given it up */
        pthread_t thread; /* of agent_start */
        bool threaded;
        bool pumping;     /* the library writes in this thread */
        bool skip_credit; /* agent_expect() looks past CREDIT */
        void (*script)(struct TestAgent *a);
} TestAgent;

/* A connection and its agent; nothing has been said. */
void agent_open(TestAgent *a);
/* The same, and both have said hello. */
void agent_open_hello(TestAgent *a);
/* Ends both (and joins the thread). */
void agent_close(TestAgent *a);
/* The agent goes away. */
void agent_hang_up(TestAgent *a);
/* Runs a script in a thread of its own. */
void agent_start(TestAgent *a, void (*script)(TestAgent *a));
void agent_join(TestAgent *a);

/* The next frame, which must be of that type. Good until the next one. Waits. */
IpcMessage agent_expect(TestAgent *a, IpcType type);
/* Lets the library write first, in the same thread. */
IpcMessage agent_pump_expect(TestAgent *a, IpcType type);
/* Nothing more has been sent. */
void agent_expect_nothing(TestAgent *a);
/* The other end has closed. */
void agent_expect_end(TestAgent *a);
void agent_send(TestAgent *a, const IpcMessage *m);
void agent_send_bytes(TestAgent *a, const void *p, size_t n);
void agent_send_hello(TestAgent *a);
void agent_send_error(TestAgent *a, uint32_t session, uint32_t request, const char *word,
                      const char *message, int error_no);
void agent_send_result(TestAgent *a, uint32_t session, uint32_t request, const char *json);
void agent_send_response(TestAgent *a, uint32_t session, uint32_t request, bool ok,
                         const char *json);
void agent_send_state(TestAgent *a, uint32_t session, IpcState state, const char *word,
                      const char *message);
void agent_send_request(TestAgent *a, uint32_t session, uint32_t request, const char *json);
void agent_send_event(TestAgent *a, uint32_t session, const char *json, const void *payload,
                      size_t n);
void agent_send_credit(TestAgent *a, uint32_t session, uint32_t bytes);
/* Answers the CONNECT that the library has sent or is to send: OPENED. */
void agent_opens(TestAgent *a, uint32_t session, uint32_t window);
void agent_announces(TestAgent *a, uint32_t session, uint32_t window, const char *info);

/* Everything that can be done now. The last result of linkipc_process(). */
int pump(linkipc *l);
/* Until the condition holds; waits for the other end. */
#define PUMP_UNTIL(l, condition)                                                                   \
        do {                                                                                       \
                while (!(condition))                                                               \
                        pump_once(l);                                                              \
        } while (0)
void pump_once(linkipc *l);

/* What callbacks saw. */
typedef struct Seen {
        int calls;
        int error;
        char word[64], message[256], json[256];
        size_t json_len;
} Seen;
void on_seen(linkipc *l, const linkipc_result *result, void *userdata);

uint64_t test_now_usec(void);
bool str_is(IpcStr s, const char *t);
