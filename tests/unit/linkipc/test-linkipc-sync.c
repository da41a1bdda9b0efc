/* Blocking calls against an agent in a thread of its own. */
#include <sched.h>
#include <signal.h>

#include "agent.h"

static void hello(TestAgent *a)
{
        (void)agent_expect(a, IPC_HELLO);
        agent_send_hello(a);
}

/* ---- calls ---- */

static void script_call(TestAgent *a)
{
        IpcMessage m;

        hello(a);
        m = agent_expect(a, IPC_CALL);
        agent_send(a,
                   &(IpcMessage){.type = IPC_NOTIFY, .name = ipc_str("n"), .json = ipc_str("{}")});
        agent_send_result(a, 0, m.request, "{\"a\":1.0}");
        m = agent_expect(a, IPC_CALL);
        agent_send_error(a, 0, m.request, "wrongCode", "no such code", EKEYREJECTED);
        m = agent_expect(a, IPC_ASK);
        agent_send_response(a, 0, m.request, true, "[1]");
        m = agent_expect(a, IPC_ASK);
        agent_send_response(a, 0, m.request, false, "\"no\"");
        m = agent_expect(a, IPC_SERVE);
        assert_true(str_is(m.name, "default"));
        assert_int_equal(m.roles, 3);
        agent_send_error(a, 0, m.request, "busy", "somebody does", EBUSY);
        m = agent_expect(a, IPC_SERVE);
        assert_true(str_is(m.name, "h"));
        agent_send_result(a, 0, m.request, "{}");
        m = agent_expect(a, IPC_CALL);
        agent_send_result(a, 0, m.request, "{}");
}

static void on_notify(linkipc *l, const char *topic, const char *json, size_t len, void *userdata)
{
        (void)topic;
        (void)json;
        (void)len;
        ++*(int *)userdata;
        assert_int_equal(linkipc_call(l, "m", NULL, 0, NULL, NULL), -EDEADLK);
}

static void test_calls(void **state)
{
        TestAgent a;
        char *json = NULL;
        size_t len = 77;
        int notified = 0;

        (void)state;
        agent_open(&a);
        linkipc_on_notify(a.link, on_notify, &notified);
        agent_start(&a, script_call);
        assert_int_equal(linkipc_call(a.link, "status", "{}", 0, &json, &len), 0);
        assert_string_equal(json, "{\"a\":1.0}");
        assert_int_equal(len, 9);
        assert_int_equal(notified, 1);
        free(json);
        json = NULL;
        len = 77;
        assert_int_equal(linkipc_call(a.link, "pair", NULL, 0, &json, &len), -EKEYREJECTED);
        assert_null(json);
        assert_int_equal(len, 77);
        assert_string_equal(linkipc_error_word(a.link), "wrongCode");
        assert_string_equal(linkipc_error_message(a.link), "no such code");
        assert_int_equal(linkipc_ask(a.link, "home", "1", 0, &json, NULL), 0);
        assert_string_equal(json, "[1]");
        free(json);
        json = NULL;
        assert_int_equal(linkipc_ask(a.link, "home", "1", 0, &json, NULL), -EREMOTEIO);
        assert_string_equal(linkipc_error_message(a.link), "no");
        assert_null(json);
        assert_int_equal(linkipc_serve(a.link, NULL, 3), -EBUSY);
        assert_int_equal(linkipc_serve(a.link, "h", 1), 0);
        assert_int_equal(linkipc_call(a.link, "m", NULL, 0, NULL, NULL), 0);
        agent_close(&a);
}

static void script_silent(TestAgent *a)
{
        hello(a);
        (void)agent_expect(a, IPC_CALL);
        agent_expect_end(a);
}

static void test_call_timeout(void **state)
{
        TestAgent a;
        char *json = NULL;
        uint64_t before = test_now_usec();

        (void)state;
        agent_open(&a);
        agent_start(&a, script_silent);
        assert_int_equal(linkipc_call(a.link, "m", NULL, 30, &json, NULL), -ETIMEDOUT);
        assert_true(test_now_usec() - before >= 30000);
        assert_string_equal(linkipc_error_word(a.link), "timeout");
        assert_null(json);
        linkipc_close(a.link);
        agent_close(&a);
}

static void script_dies(TestAgent *a)
{
        hello(a);
        (void)agent_expect(a, IPC_CALL);
        agent_hang_up(a);
}

static void test_agent_dies(void **state)
{
        TestAgent a;
        char *json = NULL;

        (void)state;
        agent_open(&a);
        agent_start(&a, script_dies);
        assert_int_equal(linkipc_call(a.link, "m", NULL, LINKIPC_FOREVER, &json, NULL),
                         -ECONNRESET);
        assert_null(json);
        agent_close(&a);
}

static void script_old(TestAgent *a)
{
        (void)agent_expect(a, IPC_HELLO);
        agent_send_error(a, 0, 0, "version", "I am old", EPROTONOSUPPORT);
        agent_hang_up(a);
}

static void test_version(void **state)
{
        TestAgent a;

        (void)state;
        agent_open(&a);
        agent_start(&a, script_old);
        assert_int_equal(linkipc_call(a.link, "m", NULL, 0, NULL, NULL), -EPROTONOSUPPORT);
        assert_string_equal(linkipc_error_message(a.link), "I am old");
        agent_close(&a);
}

/* ---- signals ---- */

static volatile sig_atomic_t alarms;
static pthread_t main_thread;

static void on_alarm(int number)
{
        (void)number;
        alarms++;
}

static void script_signals(TestAgent *a)
{
        hello(a);
        IpcMessage m = agent_expect(a, IPC_CALL);
        for (int i = 0; i < 20; i++) {
                int before = alarms;
                assert_int_equal(pthread_kill(main_thread, SIGUSR1), 0);
                while (alarms == before)
                        (void)sched_yield(); /* until it has been handled */
        }
        agent_send_result(a, 0, m.request, "{}");
}

static void test_signals(void **state)
{
        struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART */
        TestAgent a;

        (void)state;
        assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
        main_thread = pthread_self();
        agent_open(&a);
        agent_start(&a, script_signals);
        assert_int_equal(linkipc_call(a.link, "m", NULL, 0, NULL, NULL), 0);
        assert_int_equal(alarms, 20);
        agent_close(&a);
}

/* ---- sessions ---- */

static void script_session(TestAgent *a)
{
        IpcMessage m;

        hello(a);
        agent_opens(a, 1, 1); /* one message, then it must wait */
        agent_send_state(a, 1, IPC_STATE_CONNECTING, "", "");
        agent_send_state(a, 1, IPC_STATE_CONNECTED, "", "");
        m = agent_expect(a, IPC_REQUEST);
        agent_send_response(a, 1, m.request, true, "1.0");
        agent_send_credit(a, 1, (uint32_t)m.frame_len);
        m = agent_expect(a, IPC_REQUEST);
        assert_true(m.timeout_msec > 0 && m.timeout_msec <= 30000);
        agent_send_response(a, 1, m.request, false, "\"bad\"");
        agent_send_credit(a, 1, (uint32_t)m.frame_len);
        m = agent_expect(a, IPC_EVENT);
        assert_int_equal(m.payload_len, 3);
        agent_send_result(a, 1, m.request, "{}");
        agent_send_credit(a, 1, (uint32_t)m.frame_len);
        m = agent_expect(a, IPC_EVENT);
        agent_send_error(a, 1, m.request, "noPayload", "", ENOTSUP);
        (void)agent_expect(a, IPC_CLOSE);
        agent_send_state(a, 1, IPC_STATE_CLOSED, "closed", "");
}

static void test_session(void **state)
{
        TestAgent a;
        linkipc_session *s = NULL;
        char *json = NULL;

        (void)state;
        agent_open(&a);
        agent_start(&a, script_session);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        /* At once: waits for the session's number, and for credit after that. */
        assert_int_equal(linkipc_request(s, "1", 0, &json, NULL), 0);
        assert_string_equal(json, "1.0");
        free(json);
        json = NULL;
        assert_int_equal(linkipc_session_wait(s, 0), 0);
        assert_int_equal(linkipc_request(s, "1", 0, &json, NULL), -EREMOTEIO);
        assert_string_equal(linkipc_error_message(a.link), "bad");
        assert_null(json);
        assert_int_equal(linkipc_send(s, "1", "abc", 3, 0), 0);
        assert_int_equal(linkipc_send(s, "1", "abc", 3, 0), -ENOTSUP);
        assert_int_equal(linkipc_session_close(s), 0);
        assert_int_equal(linkipc_session_wait_closed(s, 0), 0);
        assert_int_equal(linkipc_session_wait_closed(s, 0), 0);
        assert_int_equal(linkipc_session_wait(s, 0), -ECONNRESET);
        assert_int_equal(linkipc_request(s, "1", 0, &json, NULL), -ENOTCONN);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void script_revoked(TestAgent *a)
{
        hello(a);
        agent_opens(a, 1, 1000);
        (void)agent_expect(a, IPC_REQUEST);
        agent_send_state(a, 1, IPC_STATE_CLOSED, "revoked", "no longer welcome");
}

static void test_session_refused(void **state)
{
        TestAgent a;
        linkipc_session *s = NULL;

        (void)state;
        agent_open(&a);
        agent_start(&a, script_revoked);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        assert_int_equal(linkipc_request(s, "1", 0, NULL, NULL), -EKEYREVOKED);
        assert_int_equal(linkipc_session_wait(s, 0), -EKEYREVOKED);
        assert_string_equal(linkipc_error_word(a.link), "revoked");
        assert_string_equal(linkipc_error_message(a.link), "no longer welcome");
        linkipc_session_unref(s);
        agent_close(&a);
}

static void script_never_connects(TestAgent *a)
{
        hello(a);
        agent_opens(a, 1, 1);
        agent_expect_end(a);
}

static void test_session_timeouts(void **state)
{
        TestAgent a;
        linkipc_session *s = NULL;
        Seen seen = {0};

        (void)state;
        agent_open(&a);
        agent_start(&a, script_never_connects);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        assert_int_equal(linkipc_session_wait(s, 20), -ETIMEDOUT);
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CONNECTING); /* it goes on */
        assert_int_equal(linkipc_session_wait_closed(s, 1), -ETIMEDOUT);
        PUMP_UNTIL(a.link, linkipc_session_get_credit(s) > 0);
        assert_int_equal(linkipc_request_async(s, "1", 0, on_seen, &seen, NULL), 0);
        assert_int_equal(linkipc_request(s, "1", 20, NULL, NULL), -ETIMEDOUT); /* no credit */
        assert_int_equal(linkipc_send(s, "1", NULL, 0, 20), -ETIMEDOUT);
        assert_int_equal(seen.calls, 0);
        linkipc_close(a.link);
        linkipc_session_unref(s);
        agent_close(&a);
        assert_int_equal(seen.calls, 1);
}

/* ---- handlers run meanwhile ---- */

typedef struct Helper {
        TestAgent *a;
        int requests;
        bool give_up;
} Helper;

static void on_request(linkipc_session *s, linkipc_reply *reply, const char *command, size_t len,
                       void *userdata)
{
        Helper *h = userdata;

        (void)s;
        (void)len;
        h->requests++;
        assert_int_equal(linkipc_reply_ok(reply, command), 0);
        assert_int_equal(linkipc_session_wait(s, 0), -EDEADLK);
        assert_int_equal(linkipc_request(s, "1", 0, NULL, NULL), -EDEADLK);
        if (h->give_up)
                linkipc_unref(TAKE_PTR(h->a->link));
}

static void script_asks_back(TestAgent *a)
{
        hello(a);
        IpcMessage m = agent_expect(a, IPC_SERVE);
        agent_send_result(a, 0, m.request, "{}");
        agent_announces(a, 5, 1000, "{}");
        uint32_t call = agent_expect(a, IPC_CALL).request;
        for (uint32_t i = 1; i <= 3; i++) {
                agent_send_request(a, 5, i, "{\"x\":1.0}");
                m = agent_expect(a, IPC_RESPONSE);
                assert_int_equal(m.request, i);
                assert_true(str_is(m.json, "{\"x\":1.0}"));
        }
        agent_send_result(a, 0, call, "{}");
        (void)agent_expect(a, IPC_CALL);
        agent_send_request(a, 5, 9, "1");
        agent_expect_end(a);
}

static void test_handlers_meanwhile(void **state)
{
        TestAgent a;
        Helper h = {.a = &a};
        char *json = NULL;

        (void)state;
        agent_open(&a);
        linkipc_on_request(a.link, on_request, &h);
        agent_start(&a, script_asks_back);
        assert_int_equal(linkipc_serve(a.link, NULL, LINKIPC_REQUESTS), 0);
        assert_int_equal(linkipc_call(a.link, "m", NULL, 0, NULL, NULL), 0);
        assert_int_equal(h.requests, 3);
        /* A handler ends the connection under the call. */
        h.give_up = true;
        assert_int_equal(linkipc_call(a.link, "m", NULL, 0, &json, NULL), -ECANCELED);
        assert_null(json);
        assert_null(a.link);
        agent_close(&a);
}

/* ---- flush ---- */

static void script_reads_late(TestAgent *a)
{
        hello(a);
        for (int i = 0; i < 40; i++)
                (void)agent_expect(a, IPC_CALL);
}

static void test_flush(void **state)
{
        enum { N = 100000 };
        char *text = malloc(N + 1);
        TestAgent a;

        (void)state;
        assert_non_null(text);
        memset(text, '1', N);
        text[N] = 0;
        agent_open(&a);
        for (int i = 0; i < 40; i++)
                assert_int_equal(linkipc_call_async(a.link, "m", text, 0, NULL, NULL, NULL), 0);
        assert_int_equal(linkipc_flush(a.link, 10), -ETIMEDOUT);
        agent_start(&a, script_reads_late);
        assert_int_equal(linkipc_flush(a.link, 0), 0);
        assert_int_equal(linkipc_get_events(a.link), POLLIN);
        assert_int_equal(linkipc_flush(a.link, 0), 0);
        agent_join(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", text, 0, NULL, NULL, NULL), 0);
        agent_hang_up(&a);
        assert_int_equal(linkipc_flush(a.link, 0), -ECONNRESET);
        agent_close(&a);
        free(text);
}

/* ---- much in both directions ---- */

static void script_echo(TestAgent *a)
{
        hello(a);
        agent_opens(a, 1, 100000);
        for (int i = 0; i < 100; i++) {
                IpcMessage m = agent_expect(a, IPC_REQUEST);
                char *json = strndup(m.json.p, m.json.n);
                assert_non_null(json);
                agent_send_credit(a, 1, (uint32_t)m.frame_len);
                agent_send_response(a, 1, m.request, true, json);
                free(json);
        }
        agent_expect_end(a);
}

static void on_echo(linkipc *l, const linkipc_result *result, void *userdata)
{
        (void)l;
        assert_int_equal(result->error, 0);
        assert_int_equal(result->json_len, 300000);
        ++*(int *)userdata;
}

static void test_echo(void **state)
{
        enum { N = 300000 };
        char *text = malloc(N + 1), *json = NULL;
        TestAgent a;
        linkipc_session *s = NULL;
        int echoed = 0;

        (void)state;
        assert_non_null(text);
        memset(text, '1', N);
        text[N] = 0;
        agent_open(&a);
        a.skip_credit = true;
        assert_int_equal(linkipc_set_window(a.link, 1), 0);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        agent_start(&a, script_echo);
        for (int i = 0; i < 99; i++) {
                int r;
                while ((r = linkipc_request_async(s, text, 0, on_echo, &echoed, NULL)) == -EAGAIN)
                        pump_once(a.link);
                assert_int_equal(r, 0);
        }
        assert_int_equal(linkipc_request(s, text, 0, &json, NULL), 0);
        assert_string_equal(json, text);
        PUMP_UNTIL(a.link, echoed == 99);
        free(json);
        free(text);
        linkipc_session_unref(s);
        linkipc_unref(TAKE_PTR(a.link));
        agent_close(&a);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_calls),
                cmocka_unit_test(test_call_timeout),
                cmocka_unit_test(test_agent_dies),
                cmocka_unit_test(test_version),
                cmocka_unit_test(test_signals),
                cmocka_unit_test(test_session),
                cmocka_unit_test(test_session_refused),
                cmocka_unit_test(test_session_timeouts),
                cmocka_unit_test(test_handlers_meanwhile),
                cmocka_unit_test(test_flush),
                cmocka_unit_test(test_echo),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
