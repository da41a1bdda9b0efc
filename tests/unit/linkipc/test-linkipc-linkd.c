/* The library against the real agent: a linkd of its own in a temporary directory. */
#include <signal.h>
#include <sys/un.h>

#include "agent.h"
#include "daemon.h"

static const char *linkd_path;

static int setup(void **state)
{
        static Daemon d;

        linkd_start(&d, linkd_path);
        *state = &d;
        return 0;
}

static int teardown(void **state)
{
        daemon_end(*state);
        return 0;
}

static linkipc *open_daemon(const Daemon *d)
{
        linkipc *l = NULL;

        assert_int_equal(linkipc_open(&l, d->socket), 0);
        return l;
}

/* ---- calls ---- */

static void test_status(void **state)
{
        linkipc *l = open_daemon(*state);
        char *json = NULL;
        size_t len;

        assert_int_equal(linkipc_call(l, "status", NULL, 0, &json, &len), 0);
        assert_int_equal(strlen(json), len);
        assert_non_null(strstr(json, "\"version\""));
        assert_non_null(strstr(json, "\"hosts\""));
        assert_memory_equal(linkipc_get_agent(l), "linkd ", 6);
        free(json);
        linkipc_unref(l);
}

static void expect_error(linkipc *l, const char *method, const char *params, int error,
                         const char *word)
{
        char *json = NULL;

        assert_int_equal(linkipc_call(l, method, params, 0, &json, NULL), error);
        assert_string_equal(linkipc_error_word(l), word);
        assert_true(strlen(linkipc_error_message(l)) > 0);
        assert_null(json);
}

static void test_errors(void **state)
{
        linkipc *l = open_daemon(*state);
        char *json = NULL;

        expect_error(l, "nonsense", NULL, -EOPNOTSUPP, "noSuchMethod");
        expect_error(l, "uplink.add", "{}", -EINVAL, "badRequest");
        expect_error(l, "devices", "{\"host\":\"nobody\"}", -ENOENT, "noSuchHost");
        expect_error(l, "peer.remove", "{\"name\":\"nobody\"}", -ENOENT, "noSuchPeer");
        expect_error(l, "revoke", "{\"device\":\"nobody\"}", -ENOENT, "noSuchDevice");
        expect_error(l, "uninvite", "{\"codeId\":\"\"}", -ENOENT, "noSuchInvitation");
        assert_int_equal(linkipc_call(l, "peers", "{}", 0, &json, NULL), 0);
        assert_string_equal(json, "{\"peers\":[]}");
        free(json);
        assert_int_equal(linkipc_ask(l, "nobody", "1", 0, NULL, NULL), -ENOENT);
        assert_string_equal(linkipc_error_word(l), "noSuchPeer");
        linkipc_unref(l);
}

static void test_large_params(void **state)
{
        enum { N = 15 * 1024 * 1024 };
        linkipc *l = open_daemon(*state);
        char *text = malloc(N + 32), *json = NULL;

        assert_non_null(text);
        strcpy(text, "{\"x\":\"");
        memset(text + 6, 'x', N);
        strcpy(text + 6 + N, "\"}");
        assert_int_equal(linkipc_call(l, "peers", text, 0, &json, NULL), 0);
        assert_string_equal(json, "{\"peers\":[]}");
        free(json);
        free(text);
        linkipc_unref(l);
}

/* The library does not look; the agent does. */
static void test_no_json(void **state)
{
        linkipc *l = open_daemon(*state);

        expect_error(l, "status", "[]", -EINVAL, "badRequest");
        expect_error(l, "status", "{\"a\":01}", -EPROTO, "protocol");
        assert_int_equal(linkipc_call(l, "status", NULL, 0, NULL, NULL), -EPROTO);
        linkipc_unref(l);
}

static void test_many_calls(void **state)
{
        linkipc *l = open_daemon(*state);
        Seen seen = {0};

        for (int i = 0; i < 1024; i++)
                assert_int_equal(linkipc_call_async(l, "status", NULL, 0, on_seen, &seen, NULL), 0);
        assert_int_equal(linkipc_call_async(l, "status", NULL, 0, on_seen, &seen, NULL), -ENOBUFS);
        PUMP_UNTIL(l, seen.calls == 1024);
        assert_int_equal(seen.error, 0);
        linkipc_unref(l);
}

/* Cancelled asks and refused ones free their numbers at the agent too. */
static void test_numbers_are_freed(void **state)
{
        linkipc *l = open_daemon(*state);
        Seen seen = {0};
        uint32_t id;

        for (int i = 0; i < 3000; i++) {
                assert_int_equal(linkipc_ask_async(l, "nobody", "1", 0, on_seen, &seen, &id), 0);
                if (i % 2)
                        assert_int_equal(linkipc_cancel(l, id), 0);
                PUMP_UNTIL(l, seen.calls == i + 1);
                assert_int_equal(seen.error, i % 2 ? -ECANCELED : -ENOENT);
        }
        assert_int_equal(linkipc_call(l, "peers", NULL, 0, NULL, NULL), 0);
        linkipc_unref(l);
}

/* ---- sessions ---- */

static void test_no_such_peer(void **state)
{
        linkipc *l = open_daemon(*state);
        linkipc_session *s = NULL;

        assert_int_equal(linkipc_connect(l, "nobody", &s), 0);
        assert_int_equal(linkipc_session_wait(s, 0), -ENOENT);
        assert_string_equal(linkipc_error_word(l), "noSuchPeer");
        assert_int_equal(linkipc_request(s, "1", 0, NULL, NULL), -ENOTCONN);
        linkipc_session_unref(s);
        assert_int_equal(linkipc_connect(l, "nobody", &s), 0);
        linkipc_session_unref(s); /* before it was answered */
        assert_int_equal(linkipc_call(l, "peers", NULL, 0, NULL, NULL), 0);
        linkipc_unref(l);
}

static void test_serve(void **state)
{
        linkipc *l = open_daemon(*state), *other = open_daemon(*state);
        char *json = NULL;

        assert_int_equal(linkipc_serve(l, "nobody", 3), -ENOENT);
        assert_string_equal(linkipc_error_word(l), "noSuchHost");
        assert_int_equal(linkipc_serve(l, NULL, LINKIPC_REQUESTS), 0);
        assert_int_equal(linkipc_serve(other, NULL, LINKIPC_REQUESTS | LINKIPC_EVENTS), -EBUSY);
        assert_string_equal(linkipc_error_word(other), "busy");
        assert_int_equal(linkipc_serve(other, NULL, LINKIPC_EVENTS), 0);
        assert_int_equal(linkipc_serve(l, NULL, 0), 0);
        assert_int_equal(linkipc_serve(l, NULL, 0), 0);
        other = linkipc_unref(other); /* lets go as well */
        do { /* the agent sees the end of the other connection when it does */
                free(json);
                json = NULL;
                assert_int_equal(linkipc_call(l, "host.list", NULL, 0, &json, NULL), 0);
        } while (strstr(json, "\"served\":true"));
        free(json);
        assert_int_equal(linkipc_serve(l, "default", 3), 0);
        linkipc_unref(l);
}

/* ---- the agent's end ---- */

static void test_agent_stops(void **state)
{
        Daemon *d = *state;
        linkipc *l = open_daemon(d), *none = NULL;

        assert_int_equal(linkipc_call(l, "status", NULL, 0, NULL, NULL), 0);
        daemon_signal(d, SIGTERM);
        assert_int_equal(linkipc_call(l, "status", NULL, 0, NULL, NULL), -ECONNRESET);
        assert_int_equal(linkipc_open(&none, d->socket), -ENOENT);
        linkipc_unref(l);
}

static void test_agent_is_killed(void **state)
{
        Daemon *d = *state;
        linkipc *l = open_daemon(d), *none = NULL;
        Seen seen = {0};

        assert_int_equal(linkipc_call(l, "status", NULL, 0, NULL, NULL), 0);
        assert_int_equal(kill(d->pid, SIGSTOP), 0);
        assert_int_equal(linkipc_call(l, "status", NULL, 30, NULL, NULL), -ETIMEDOUT); /* hangs */
        assert_int_equal(linkipc_call_async(l, "status", NULL, 0, on_seen, &seen, NULL), 0);
        assert_int_equal(linkipc_flush(l, 0), 0);
        daemon_signal(d, SIGKILL);
        assert_int_equal(pump(l), -ECONNRESET);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -ECONNRESET);
        assert_int_equal(linkipc_open(&none, d->socket), -ECONNREFUSED);
        linkipc_unref(l);
}

/* ---- what linkd says to applications that break the rules ---- */

static void test_agent_refuses(void **state)
{
        Daemon *d = *state;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        static const char *const faults[] = {"\0\0\0\0", "\0\0\0\x0c\x15\0\0\0\0\0\0\1\0\0\0\0",
                                             "GET / HTTP/1.1\r\n\r\n"};
        static const size_t lengths[] = {4, 16, 18};

        strcpy(address.sun_path, d->socket);
        for (size_t i = 0; i < ELEMENTSOF(faults); i++) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                linkipc *l = NULL;
                assert_true(fd >= 0);
                assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
                assert_int_equal(send(fd, faults[i], lengths[i], MSG_NOSIGNAL), lengths[i]);
                /* The library's HELLO comes behind it, and the library hears why it ends. */
                assert_int_equal(linkipc_open_fd(&l, fd), 0);
                assert_int_equal(linkipc_call(l, "status", NULL, 0, NULL, NULL), -EPROTO);
                assert_string_equal(linkipc_error_word(l), "protocol");
                linkipc_unref(l);
        }
        linkipc *l = open_daemon(d);
        assert_int_equal(linkipc_call(l, "status", NULL, 0, NULL, NULL), 0);
        linkipc_unref(l);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_status, setup, teardown),
                cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_large_params, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_json, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_calls, setup, teardown),
                cmocka_unit_test_setup_teardown(test_numbers_are_freed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_such_peer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_serve, setup, teardown),
                cmocka_unit_test_setup_teardown(test_agent_stops, setup, teardown),
                cmocka_unit_test_setup_teardown(test_agent_is_killed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_agent_refuses, setup, teardown),
        };

        assert_int_equal(argc, 2);
        linkd_path = argv[1];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
