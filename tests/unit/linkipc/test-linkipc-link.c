/* The agent's own methods, time-outs, the end: one connection without sessions. */
#include <fcntl.h>
#include <signal.h>

#include "agent.h"

/* ---- calls ---- */

static void test_call(void **state)
{
        TestAgent a;
        Seen seen = {0}, other = {0};
        uint32_t id = 0, id2 = 0;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(
                linkipc_call_async(a.link, "invite", "{\"n\":1.0}", 0, on_seen, &seen, &id), 0);
        assert_int_equal(linkipc_call_async(a.link, "status", NULL, 0, on_seen, &other, &id2), 0);
        assert_true(id != 0 && id2 != 0 && id != id2);
        IpcMessage m = agent_pump_expect(&a, IPC_CALL);
        assert_int_equal(m.request, id);
        assert_true(str_is(m.name, "invite"));
        assert_true(str_is(m.json, "{\"n\":1.0}"));
        m = agent_pump_expect(&a, IPC_CALL);
        assert_int_equal(m.request, id2);
        assert_int_equal(m.json.n, 0);
        agent_send_error(&a, 0, id2, "forbidden", "not you", EACCES);
        agent_send_result(&a, 0, id, "{\"x\":123456789012345678901234567890}");
        /* One message a call of linkipc_process(). */
        assert_int_equal(linkipc_process(a.link), 1);
        assert_int_equal(other.calls, 1);
        assert_int_equal(seen.calls, 0);
        pump(a.link);
        assert_int_equal(other.error, -EACCES);
        assert_string_equal(other.word, "forbidden");
        assert_string_equal(other.message, "not you");
        assert_int_equal(other.json_len, 0);
        assert_int_equal(seen.error, 0);
        assert_string_equal(seen.word, "");
        assert_string_equal(seen.json, "{\"x\":123456789012345678901234567890}");
        assert_int_equal(linkipc_cancel(a.link, id), -ENOENT);
        agent_close(&a);
        assert_int_equal(seen.calls + other.calls, 2);
}

static void test_ask(void **state)
{
        TestAgent a;
        Seen seen = {0};
        uint32_t id;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_ask_async(a.link, "home", "[1]", 1500, on_seen, &seen, &id), 0);
        IpcMessage m = agent_pump_expect(&a, IPC_ASK);
        assert_int_equal(m.timeout_msec, 1500);
        assert_true(str_is(m.name, "home"));
        assert_true(str_is(m.json, "[1]"));
        agent_send_response(&a, 0, id, false, "\"a \\\"bad\\\" \\u00fc\\ud83d\\ude00\"");
        pump(a.link);
        assert_int_equal(seen.error, -EREMOTEIO);
        assert_string_equal(seen.word, "remote");
        assert_string_equal(seen.message, "a \"bad\" ü😀");
        assert_int_equal(linkipc_ask_async(a.link, "home", "2", 0, on_seen, &seen, &id), 0);
        m = agent_pump_expect(&a, IPC_ASK);
        assert_int_equal(m.timeout_msec, 0);
        agent_send_response(&a, 0, id, true, "1.0");
        pump(a.link);
        assert_int_equal(seen.calls, 2);
        assert_string_equal(seen.json, "1.0");
        agent_close(&a);
}

static void test_arguments(void **state)
{
        TestAgent a;
        char name[65537];
        uint32_t id = 77;

        (void)state;
        agent_open_hello(&a);
        linkipc *l = a.link;
        assert_int_equal(linkipc_call_async(l, NULL, "{}", 0, NULL, NULL, &id), -EINVAL);
        assert_int_equal(linkipc_call_async(l, "", "{}", 0, NULL, NULL, &id), -EINVAL);
        assert_int_equal(linkipc_call_async(l, "m", "\"\xff\"", 0, NULL, NULL, &id), -EINVAL);
        assert_string_equal(linkipc_error_word(l), "badRequest");
        assert_int_equal(linkipc_ask_async(l, "p", NULL, 0, NULL, NULL, &id), -EINVAL);
        assert_int_equal(linkipc_ask_async(l, "p", "", 0, NULL, NULL, &id), -EINVAL);
        assert_int_equal(linkipc_ask_async(l, "\xc3", "1", 0, NULL, NULL, &id), -EINVAL);
        assert_int_equal(linkipc_serve_async(l, NULL, 4, NULL, NULL, &id), -EINVAL);
        assert_int_equal(linkipc_set_window(l, 0), -EINVAL);
        assert_int_equal(linkipc_set_window(l, 4194305), -EINVAL);
        assert_int_equal(linkipc_set_window(l, 4194304), 0);
        memset(name, 'n', sizeof name);
        name[65536] = 0;
        assert_int_equal(linkipc_ask_async(l, name, "1", 0, NULL, NULL, &id), -EINVAL);
        assert_int_equal(id, 77);
        name[65535] = 0;
        assert_int_equal(linkipc_ask_async(l, name, "1", 0, NULL, NULL, &id), 0);
        assert_int_equal(agent_pump_expect(&a, IPC_ASK).name.n, 65535);
        agent_expect_nothing(&a);
        agent_close(&a);
}

/* ---- limits ---- */

static void test_1024_operations(void **state)
{
        TestAgent a;
        Seen seen = {0};
        uint32_t id, first = 0;

        (void)state;
        agent_open_hello(&a);
        for (int i = 0; i < 1024; i++) {
                assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, &id), 0);
                if (i == 0)
                        first = id;
        }
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, &id), -ENOBUFS);
        assert_string_equal(linkipc_error_word(a.link), "tooMany");
        assert_int_equal(linkipc_ask_async(a.link, "p", "1", 0, on_seen, &seen, NULL), -ENOBUFS);
        /* A number that was given up is still in use until the agent has answered. */
        assert_int_equal(linkipc_cancel(a.link, first), 0);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -ECANCELED);
        assert_int_equal(linkipc_cancel(a.link, first), -ENOENT);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), -ENOBUFS);
        for (int i = 0; i < 1024; i++) {
                IpcMessage m = agent_pump_expect(&a, IPC_CALL);
                if (i == 0)
                        agent_send_result(&a, 0, m.request, "{}");
        }
        pump(a.link);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), 0);
        agent_close(&a);
        assert_int_equal(seen.calls, 1025);
}

static void test_16_mib_unanswered(void **state)
{
        const size_t n = 16 * 1024 * 1024 + 1000; /* one fits, whatever its size */
        char *text = malloc(n + 1);
        TestAgent a;
        uint32_t id;
        Seen seen = {0};

        (void)state;
        assert_non_null(text);
        memset(text, '1', n);
        text[n] = 0;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", text, 0, on_seen, &seen, &id), 0);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), -ENOBUFS);
        assert_int_equal(linkipc_ask_async(a.link, "p", "1", 0, on_seen, &seen, NULL), -ENOBUFS);
        assert_int_equal(linkipc_cancel(a.link, id), 0); /* the agent may work on it all the same */
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), -ENOBUFS);
        agent_send_result(&a, 0, id, "{}");
        pump(a.link);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), 0);
        agent_close(&a);
        free(text);
}

static void test_cancel(void **state)
{
        TestAgent a;
        Seen seen = {0};
        uint32_t id;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_ask_async(a.link, "p", "1", 0, on_seen, &seen, &id), 0);
        assert_int_equal(linkipc_cancel(a.link, id), 0);
        assert_int_equal(seen.calls, 1);
        assert_string_equal(seen.word, "canceled");
        (void)agent_pump_expect(&a, IPC_ASK);
        IpcMessage m = agent_pump_expect(&a, IPC_CANCEL);
        assert_int_equal(m.request, id);
        assert_int_equal(m.session, 0);
        agent_send_response(&a, 0, id, true, "1"); /* has crossed it */
        agent_send_error(&a, 0, id, "timeout", "", ETIMEDOUT);
        assert_int_equal(pump(a.link), 0);
        assert_int_equal(seen.calls, 1);
        agent_close(&a);
        assert_int_equal(seen.calls, 1);
}

/* An application that asks and cancels for ever while the agent reads nothing. */
static void test_cancel_does_not_pile_up(void **state)
{
        TestAgent a;
        Seen seen = {0};
        uint32_t id;
        int started = 0, r;
        char text[20001];

        (void)state;
        agent_open_hello(&a);
        memset(text, '1', sizeof text - 1);
        text[sizeof text - 1] = 0;
        while ((r = linkipc_ask_async(a.link, "p", text, 0, on_seen, &seen, &id)) == 0) {
                started++;
                assert_true(started < 10000);
                pump(a.link);
                assert_int_equal(linkipc_cancel(a.link, id), 0);
                assert_int_equal(seen.calls, started);
        }
        assert_int_equal(r, -ENOBUFS);
        agent_close(&a);
}

/* ---- time ---- */

static void test_timeout(void **state)
{
        TestAgent a;
        Seen seen = {0};
        uint32_t id;
        uint64_t due, before;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_get_timeout(a.link, &due), 0);
        assert_true(due == UINT64_MAX);
        assert_int_equal(linkipc_wait(a.link, 1), 0);
        before = test_now_usec();
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), 0);
        (void)linkipc_get_timeout(a.link, &due);
        assert_true(due >= before + 120 * 1000000 && due <= test_now_usec() + 120 * 1000000);
        before = test_now_usec();
        assert_int_equal(linkipc_ask_async(a.link, "p", "1", 0, NULL, NULL, NULL), 0);
        (void)linkipc_get_timeout(a.link, &due); /* the agent's 30 s, and some patience */
        assert_true(due >= before + 30 * 1000000 && due <= test_now_usec() + 36 * 1000000);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 20, on_seen, &seen, &id), 0);
        (void)linkipc_get_timeout(a.link, &due);
        PUMP_UNTIL(a.link, seen.calls > 0);
        assert_true(test_now_usec() >= due);
        assert_int_equal(seen.error, -ETIMEDOUT);
        assert_string_equal(seen.word, "timeout");
        agent_send_result(&a, 0, id, "{}"); /* too late */
        assert_int_equal(pump(a.link), 0);
        assert_int_equal(seen.calls, 1);
        agent_close(&a);
        assert_int_equal(seen.calls, 2);
}

static void test_timeout_forever(void **state)
{
        TestAgent a;
        uint64_t due = 0;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, LINKIPC_FOREVER, NULL, NULL, NULL),
                         0);
        assert_int_equal(linkipc_ask_async(a.link, "p", "1", LINKIPC_FOREVER, NULL, NULL, NULL), 0);
        (void)linkipc_get_timeout(a.link, &due);
        assert_true(due == UINT64_MAX);
        (void)agent_pump_expect(&a, IPC_CALL);
        assert_int_equal(agent_pump_expect(&a, IPC_ASK).timeout_msec, UINT32_MAX);
        agent_close(&a);
}

/* An agent that has hung is told CANCEL in case it wakes up. */
static void test_timeout_of_hung_agent(void **state)
{
        TestAgent a;
        Seen seen = {0};

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_ask_async(a.link, "p", "1", 1, on_seen, &seen, NULL), 0);
        PUMP_UNTIL(a.link, seen.calls > 0); /* 5 s */
        assert_int_equal(seen.error, -ETIMEDOUT);
        (void)agent_pump_expect(&a, IPC_ASK);
        (void)agent_pump_expect(&a, IPC_CANCEL);
        agent_close(&a);
        assert_int_equal(seen.calls, 1);
}

/* ---- the end ---- */

static void test_agent_dies(void **state)
{
        TestAgent a;
        Seen seen = {0};
        uint64_t due;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), 0);
        IpcMessage m = agent_pump_expect(&a, IPC_CALL);
        Seen second = {0};
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &second, NULL), 0);
        agent_send_result(&a, 0, m.request, "{}"); /* what it said before still counts */
        agent_hang_up(&a);
        assert_int_equal(pump(a.link), -ECONNRESET);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, 0);
        assert_int_equal(second.calls, 1);
        assert_int_equal(second.error, -ECONNRESET);
        assert_string_equal(second.word, "disconnected");
        assert_int_equal(linkipc_process(a.link), -ECONNRESET);
        assert_int_equal(linkipc_get_events(a.link), 0);
        assert_int_equal(linkipc_get_timeout(a.link, &due), 0);
        assert_true(due == UINT64_MAX);
        assert_int_equal(linkipc_wait(a.link, 1), -ECONNRESET);
        assert_int_equal(linkipc_flush(a.link, 1), -ECONNRESET);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL),
                         -ECONNRESET);
        assert_int_equal(linkipc_call(a.link, "m", NULL, 0, NULL, NULL), -ECONNRESET);
        assert_true(fcntl(linkipc_get_fd(a.link), F_GETFD) >= 0); /* open until the unref */
        agent_close(&a);
        assert_int_equal(seen.calls + second.calls, 2);
}

static void on_sigpipe(int number)
{
        (void)number;
        fail_msg("SIGPIPE");
}

static void test_no_sigpipe(void **state)
{
        TestAgent a;

        (void)state;
        assert_true(signal(SIGPIPE, on_sigpipe) != SIG_ERR);
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, NULL, NULL, NULL), 0);
        agent_hang_up(&a);
        assert_int_equal(pump(a.link), -ECONNRESET);
        agent_close(&a);
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, NULL, NULL, NULL), 0);
        agent_hang_up(&a);
        agent_close(&a); /* the unref writes */
        assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
}

static void test_unref(void **state)
{
        TestAgent a;
        Seen seen = {0};

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), 0);
        linkipc *l = linkipc_ref(a.link);
        assert_ptr_equal(l, a.link);
        assert_null(linkipc_unref(l));
        assert_int_equal(seen.calls, 0);
        a.link = linkipc_unref(a.link);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -ECANCELED);
        (void)agent_expect(&a, IPC_CALL); /* what was queued was sent */
        agent_expect_end(&a);
        agent_close(&a);
}

static void test_close(void **state)
{
        TestAgent a;
        Seen seen = {0};
        uint64_t due = 1;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), 0);
        linkipc_close(a.link);
        assert_int_equal(seen.calls, 0);
        (void)linkipc_get_timeout(a.link, &due);
        assert_true(due == 0);
        assert_int_equal(linkipc_wait(a.link, 0), 1);
        assert_int_equal(linkipc_process(a.link), -ECONNRESET);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -ECONNRESET);
        agent_expect_end(&a);
        agent_close(&a);
        assert_int_equal(seen.calls, 1);
}

/* ---- from within callbacks ---- */

typedef struct Nasty {
        TestAgent *agent;
        int calls;
        int error;
} Nasty;

static void on_unref_link(linkipc *l, const linkipc_result *result, void *userdata)
{
        Nasty *n = userdata;

        n->calls++;
        n->error = result->error;
        linkipc_unref(TAKE_PTR(n->agent->link));
        assert_string_equal(result->json, "{\"still\":\"good\"}");
        assert_int_equal(linkipc_call_async(l, "m", NULL, 0, NULL, NULL, NULL), -ECANCELED);
}

static void test_unref_in_callback(void **state)
{
        TestAgent a;
        Nasty n = {.agent = &a};
        Seen other = {0};
        uint32_t id;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_unref_link, &n, &id), 0);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &other, NULL), 0);
        agent_send_result(&a, 0, id, "{\"still\":\"good\"}");
        agent_send_result(&a, 0, id + 1, "{}");
        assert_true(linkipc_process(a.link) < 0);
        assert_null(a.link);
        assert_int_equal(n.calls, 1);
        assert_int_equal(n.error, 0);
        assert_int_equal(other.calls, 1);
        assert_int_equal(other.error, -ECANCELED);
        agent_close(&a);
}

static void on_deadlock(linkipc *l, const linkipc_result *result, void *userdata)
{
        char *json = (char *)1;

        (void)result;
        ++*(int *)userdata;
        assert_int_equal(linkipc_call(l, "m", NULL, 0, &json, NULL), -EDEADLK);
        assert_int_equal(linkipc_ask(l, "p", "1", 0, &json, NULL), -EDEADLK);
        assert_int_equal(linkipc_serve(l, NULL, 3), -EDEADLK);
        assert_int_equal(linkipc_flush(l, 0), -EDEADLK);
        assert_int_equal(linkipc_wait(l, 0), -EDEADLK);
        assert_int_equal(linkipc_process(l), -EBUSY);
        assert_ptr_equal(json, (char *)1);
}

static void test_blocking_in_callback(void **state)
{
        TestAgent a;
        int calls = 0;
        uint32_t id;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_deadlock, &calls, &id), 0);
        agent_send_result(&a, 0, id, "{}");
        pump(a.link);
        assert_int_equal(calls, 1);
        assert_int_equal(linkipc_ask_async(a.link, "p", "1", 0, on_deadlock, &calls, &id), 0);
        assert_int_equal(linkipc_cancel(a.link, id), 0); /* a callback outside of the loop */
        assert_int_equal(calls, 2);
        agent_close(&a);
}

static void on_again(linkipc *l, const linkipc_result *result, void *userdata)
{
        int *calls = userdata;

        if (result->error == 0 && ++*calls < 5)
                assert_int_equal(linkipc_call_async(l, "m", NULL, 0, on_again, calls, NULL), 0);
        if (result->error < 0)
                assert_true(linkipc_call_async(l, "m", NULL, 0, on_again, calls, NULL) < 0);
}

static void test_start_in_callback(void **state)
{
        TestAgent a;
        int calls = 0;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_again, &calls, NULL), 0);
        for (int i = 0; i < 4; i++) {
                IpcMessage m = agent_pump_expect(&a, IPC_CALL);
                agent_send_result(&a, 0, m.request, "{}");
        }
        agent_hang_up(&a);
        assert_int_equal(pump(a.link), -ECONNRESET);
        assert_int_equal(calls, 4);
        agent_close(&a);
}

static void on_close_link(linkipc *l, const char *topic, const char *json, size_t len,
                          void *userdata)
{
        ++*(int *)userdata;
        assert_string_equal(topic, "news");
        assert_string_equal(json, "[1,2]");
        assert_int_equal(len, 5);
        linkipc_close(l);
}

static void test_notify_and_close(void **state)
{
        TestAgent a;
        int calls = 0;

        (void)state;
        agent_open_hello(&a);
        IpcMessage m = {.type = IPC_NOTIFY, .name = ipc_str("news"), .json = ipc_str("[1,2]")};
        agent_send(&a, &m); /* nobody listens */
        assert_int_equal(pump(a.link), 0);
        linkipc_on_notify(a.link, on_close_link, &calls);
        agent_send(&a, &m);
        agent_send(&a, &m);
        assert_int_equal(pump(a.link), -ECONNRESET);
        assert_int_equal(calls, 1);
        agent_close(&a);
}

/* ---- an event loop of one's own ---- */

static void test_event_loop(void **state)
{
        TestAgent a;
        enum { CALLS = 200 };
        Seen seen = {0};

        (void)state;
        agent_open_hello(&a);
        char *text = malloc(40001);
        assert_non_null(text);
        memset(text, '1', 40000);
        text[40000] = 0;
        for (int i = 0; i < CALLS; i++)
                assert_int_equal(linkipc_call_async(a.link, "m", text, 0, on_seen, &seen, NULL), 0);
        int answered = 0, rounds = 0;
        while (seen.calls < CALLS) {
                uint64_t due;
                struct pollfd p[2] = {
                        {.fd = linkipc_get_fd(a.link), .events = (short)linkipc_get_events(a.link)},
                        {.fd = a.fd, .events = POLLIN},
                };
                assert_int_equal(linkipc_get_timeout(a.link, &due), 0);
                assert_true(due > test_now_usec());
                assert_true(poll(p, 2, PATIENCE_MSEC) > 0);
                if (p[0].revents)
                        assert_int_equal(pump(a.link), 0);
                if (p[1].revents && answered < CALLS) {
                        IpcMessage m = agent_expect(&a, IPC_CALL);
                        agent_send_result(&a, 0, m.request, "{}");
                        answered++;
                }
                rounds++;
        }
        assert_true(rounds > 1);
        assert_int_equal(linkipc_get_events(a.link), POLLIN);
        agent_close(&a);
        free(text);
}

/* A frame that is there already makes processing due, whatever poll says. */
static void test_event_loop_buffered(void **state)
{
        TestAgent a;
        Seen seen = {0};
        uint64_t due = 1;

        (void)state;
        agent_open_hello(&a);
        for (int i = 0; i < 2; i++)
                assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, NULL), 0);
        pump(a.link);
        for (int i = 0; i < 2; i++)
                agent_send_result(&a, 0, agent_expect(&a, IPC_CALL).request, "{}");
        assert_int_equal(linkipc_process(a.link), 1);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(linkipc_get_timeout(a.link, &due), 0);
        assert_true(due == 0);
        assert_int_equal(linkipc_wait(a.link, LINKIPC_FOREVER), 1);
        assert_int_equal(linkipc_process(a.link), 1);
        assert_int_equal(seen.calls, 2);
        assert_int_equal(linkipc_process(a.link), 0);
        agent_close(&a);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_call),
                cmocka_unit_test(test_ask),
                cmocka_unit_test(test_arguments),
                cmocka_unit_test(test_1024_operations),
                cmocka_unit_test(test_16_mib_unanswered),
                cmocka_unit_test(test_cancel),
                cmocka_unit_test(test_cancel_does_not_pile_up),
                cmocka_unit_test(test_timeout),
                cmocka_unit_test(test_timeout_forever),
                cmocka_unit_test(test_timeout_of_hung_agent),
                cmocka_unit_test(test_agent_dies),
                cmocka_unit_test(test_no_sigpipe),
                cmocka_unit_test(test_unref),
                cmocka_unit_test(test_close),
                cmocka_unit_test(test_unref_in_callback),
                cmocka_unit_test(test_blocking_in_callback),
                cmocka_unit_test(test_start_in_callback),
                cmocka_unit_test(test_notify_and_close),
                cmocka_unit_test(test_event_loop),
                cmocka_unit_test(test_event_loop_buffered),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
