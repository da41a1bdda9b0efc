/* Opening a connection, and the first words with the agent. */
#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/un.h>

#include "agent.h"

/* ---- opening ---- */

static volatile sig_atomic_t alarms;

static void on_alarm(int number)
{
        (void)number;
        alarms++;
}

static int listen_at(const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_true(strlen(path) < sizeof address.sun_path);
        strcpy(address.sun_path, path);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(fd, 4), 0);
        return fd;
}

static char *make_dir(char *buf)
{
        strcpy(buf, "/tmp/linkipc-XXXXXX");
        char *dir = mkdtemp(buf);
        assert_non_null(dir);
        return dir;
}

static void test_open_paths(void **state)
{
        char buf[64], path[128], other[128];
        char *dir = make_dir(buf);
        linkipc *l = NULL;

        (void)state;
        (void)snprintf(path, sizeof path, "%s/linkd.sock", dir);
        assert_int_equal(linkipc_open(&l, path), -ENOENT);
        assert_null(l);
        int fd = listen_at(path);
        assert_int_equal(linkipc_open(&l, path), 0);
        assert_string_equal(linkipc_get_path(l), path);
        assert_string_equal(linkipc_get_agent(l), "");
        assert_string_equal(linkipc_error_word(l), "");
        assert_true(fcntl(linkipc_get_fd(l), F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(linkipc_get_fd(l), F_GETFL) & O_NONBLOCK);
        l = linkipc_unref(l);
        assert_null(l);

        assert_int_equal(setenv("LINKD_SOCKET", path, 1), 0);
        assert_int_equal(linkipc_open(&l, NULL), 0);
        assert_string_equal(linkipc_get_path(l), path);
        l = linkipc_unref(l);
        (void)snprintf(other, sizeof other, "%s/nobody", dir);
        assert_int_equal(setenv("LINKD_SOCKET", other, 1), 0);
        assert_int_equal(linkipc_open(&l, NULL), -ENOENT); /* not another agent instead */
        assert_int_equal(unsetenv("LINKD_SOCKET"), 0);

        assert_int_equal(close(fd), 0);
        assert_int_equal(linkipc_open(&l, path), -ECONNREFUSED);
        assert_null(l);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(dir), 0);
}

static void test_open_user(void **state)
{
        char buf[64], sub[128], path[128], got[128];
        char *dir = make_dir(buf);
        linkipc *l = NULL;

        (void)state;
        (void)snprintf(sub, sizeof sub, "%s/linkd", dir);
        (void)snprintf(path, sizeof path, "%s/linkd/linkd.sock", dir);
        assert_int_equal(setenv("XDG_RUNTIME_DIR", dir, 1), 0);
        assert_int_equal(unsetenv("LINKD_SOCKET"), 0);
        assert_int_equal(linkipc_open_user(&l), -ENOENT);
        assert_int_equal(mkdir(sub, 0700), 0);
        int fd = listen_at(path);
        assert_int_equal(linkipc_socket_path(LINKIPC_PATH_USER, got, sizeof got), 0);
        assert_string_equal(got, path);
        assert_int_equal(linkipc_open_user(&l), 0);
        l = linkipc_unref(l);
        assert_int_equal(linkipc_open(&l, NULL), 0);
        assert_string_equal(linkipc_get_path(l), path);
        linkipc_unref(l);
        assert_int_equal(close(fd), 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(sub), 0);
        assert_int_equal(rmdir(dir), 0);
        assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
}

static void test_socket_path(void **state)
{
        char buf[32] = "untouched";

        (void)state;
        assert_int_equal(unsetenv("LINKD_SOCKET"), 0);
        assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
        assert_int_equal(linkipc_socket_path(LINKIPC_PATH_ENVIRONMENT, buf, sizeof buf), -ENOENT);
        assert_int_equal(linkipc_socket_path(3, buf, sizeof buf), -EINVAL);
        assert_int_equal(linkipc_socket_path(LINKIPC_PATH_SYSTEM, NULL, 0), -EINVAL);
        size_t n = strlen("/run/linkd/linkd.sock");
        assert_int_equal(linkipc_socket_path(LINKIPC_PATH_SYSTEM, buf, n), -ENAMETOOLONG);
        assert_string_equal(buf, "untouched");
        assert_int_equal(linkipc_socket_path(LINKIPC_PATH_SYSTEM, buf, n + 1), 0);
        assert_string_equal(buf, "/run/linkd/linkd.sock");
        assert_int_equal(setenv("LINKD_SOCKET", "", 1), 0);
        assert_int_equal(linkipc_socket_path(LINKIPC_PATH_ENVIRONMENT, buf, sizeof buf), -ENOENT);
        assert_int_equal(unsetenv("LINKD_SOCKET"), 0);
}

/* Without a runtime directory: what it would be, else the state directory, else nothing. */
static void test_user_path(void **state)
{
        _cleanup_(freep) char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
        char dir[64], expect[128], got[128];
        struct stat st;

        (void)state;
        assert_int_equal(setenv("XDG_RUNTIME_DIR", "relative", 1), 0);
        assert_int_equal(setenv("HOME", "/h", 1), 0);
        (void)snprintf(dir, sizeof dir, "/run/user/%u", getuid());
        bool there = stat(dir, &st) == 0;
        (void)snprintf(expect, sizeof expect, "%s/linkd/linkd.sock",
                       there ? dir : "/h/.local/state");
        assert_int_equal(linkipc_socket_path(LINKIPC_PATH_USER, got, sizeof got), 0);
        assert_string_equal(got, expect);
        assert_int_equal(unsetenv("HOME"), 0);
        assert_int_equal(linkipc_socket_path(LINKIPC_PATH_USER, got, sizeof got),
                         there ? 0 : -ENOENT);
        if (home)
                assert_int_equal(setenv("HOME", home, 1), 0);
        assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
}

static void test_open_refuses(void **state)
{
        char path[109];
        linkipc *l = NULL;
        int fds[2];

        (void)state;
        memset(path, 'a', 108);
        path[108] = 0;
        assert_int_equal(linkipc_open(&l, path), -ENAMETOOLONG);
        path[107] = 0;
        assert_int_equal(linkipc_open(&l, path), -ENOENT);
        assert_int_equal(linkipc_open(&l, ""), -EINVAL);
        assert_int_equal(linkipc_open(NULL, path), -EINVAL);
        assert_int_equal(linkipc_open_fd(&l, -1), -EINVAL);
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(linkipc_open_fd(&l, fds[0]), -ENOTSOCK);
        assert_int_equal(close(fds[0]), 0); /* it stayed ours */
        assert_int_equal(close(fds[1]), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
        assert_int_equal(linkipc_open_fd(&l, fds[0]), -EINVAL);
        assert_int_equal(close(fds[0]), 0);
        assert_int_equal(close(fds[1]), 0);
        fds[0] = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(linkipc_open_fd(&l, fds[0]), -ENOTCONN);
        assert_false(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
        assert_int_equal(close(fds[0]), 0);
        assert_null(l);
}

/* The accept queue is full: it waits 5 s, and no more. Signals do not end the wait before. */
static void test_open_busy(void **state)
{
        char buf[64], path[128];
        char *dir = make_dir(buf);
        linkipc *l = NULL, *queued = NULL;
        struct sigaction action = {.sa_handler = on_alarm};
        struct itimerval often = {{0, 300000}, {0, 300000}}, never = {0};

        (void)state;
        (void)snprintf(path, sizeof path, "%s/linkd.sock", dir);
        int fd = listen_at(path);
        assert_int_equal(listen(fd, 0), 0); /* one */
        assert_int_equal(linkipc_open(&queued, path), 0);
        assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
        assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
        uint64_t before = test_now_usec();
        assert_int_equal(linkipc_open(&l, path), -EAGAIN);
        assert_true(test_now_usec() - before >= 5000000);
        assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
        assert_true(alarms > 0);
        assert_null(l);
        linkipc_unref(queued);
        assert_int_equal(close(fd), 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(dir), 0);
}

static void test_null(void **state)
{
        (void)state;
        assert_null(linkipc_unref(NULL));
        assert_null(linkipc_ref(NULL));
        assert_null(linkipc_session_unref(NULL));
        assert_null(linkipc_reply_unref(NULL));
        assert_int_equal(linkipc_process(NULL), -EINVAL);
        assert_string_equal(linkipc_error_message(NULL), "");
        linkipc_close(NULL);
}

/* ---- hello ---- */

static void test_hello(void **state)
{
        TestAgent a;

        (void)state;
        agent_open(&a);
        assert_int_equal(linkipc_get_events(a.link), POLLIN | POLLOUT);
        IpcMessage m = agent_pump_expect(&a, IPC_HELLO);
        assert_int_equal(linkipc_get_events(a.link), POLLIN);
        assert_int_equal(m.version, 1);
        assert_int_equal(m.features, 0);
        assert_int_equal(m.max_frame, IPC_FRAME_MAX);
        assert_memory_equal(m.name.p, "liblinkipc ", 11);
        agent_send(&a, &(IpcMessage){
                               .type = IPC_HELLO,
                               .version = 1,
                               .features = UINT32_MAX, /* unknown bits are ignored */
                               .max_frame = IPC_FRAME_MAX,
                               .name = ipc_str("linkd 7"),
                       });
        assert_int_equal(pump(a.link), 0);
        assert_string_equal(linkipc_get_agent(a.link), "linkd 7");
        assert_string_equal(linkipc_get_path(a.link), "");
        agent_close(&a);
}

static void test_hello_version(void **state)
{
        static const uint16_t versions[] = {0, 2, 65535};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(versions); i++) {
                TestAgent a;
                agent_open(&a);
                agent_send(&a, &(IpcMessage){
                                       .type = IPC_HELLO,
                                       .version = versions[i],
                                       .max_frame = IPC_FRAME_MAX,
                               });
                assert_int_equal(pump(a.link), -EPROTONOSUPPORT);
                assert_string_equal(linkipc_error_word(a.link), "version");
                assert_int_equal(linkipc_get_events(a.link), 0);
                agent_expect_end(&a);
                agent_close(&a);
        }
}

/* An agent that refuses says so before it closes, and has closed before the library wrote anything.
 */
static void test_hello_refused(void **state)
{
        TestAgent a;
        Seen seen = {0};

        (void)state;
        agent_open(&a);
        agent_send_error(&a, 0, 0, "version", "this agent speaks version 9", EPROTONOSUPPORT);
        agent_hang_up(&a);
        assert_int_equal(linkipc_call_async(a.link, "status", NULL, 0, on_seen, &seen, NULL), 0);
        assert_int_equal(pump(a.link), -EPROTONOSUPPORT);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -EPROTONOSUPPORT);
        assert_string_equal(seen.word, "version");
        assert_string_equal(linkipc_error_message(a.link), "this agent speaks version 9");
        agent_close(&a);
}

static void test_small_frames_only(void **state)
{
        TestAgent a;
        char text[200];

        (void)state;
        agent_open(&a);
        agent_send(&a, &(IpcMessage){.type = IPC_HELLO, .version = 1, .max_frame = 100});
        assert_int_equal(pump(a.link), 0);
        memset(text, '1', sizeof text);
        text[100 - 12 - 3] = 0; /* header, and a name of one letter */
        (void)agent_expect(&a, IPC_HELLO);
        assert_int_equal(linkipc_call_async(a.link, "m", text, 0, NULL, NULL, NULL), 0);
        (void)agent_pump_expect(&a, IPC_CALL);
        text[100 - 12 - 3] = '1';
        text[100 - 12 - 2] = 0;
        assert_int_equal(linkipc_call_async(a.link, "m", text, 0, NULL, NULL, NULL), -EMSGSIZE);
        assert_string_equal(linkipc_error_word(a.link), "tooBig");
        agent_expect_nothing(&a);
        agent_close(&a);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_open_paths),
                cmocka_unit_test(test_open_user),
                cmocka_unit_test(test_socket_path),
                cmocka_unit_test(test_user_path),
                cmocka_unit_test(test_open_refuses),
                cmocka_unit_test(test_open_busy),
                cmocka_unit_test(test_null),
                cmocka_unit_test(test_hello),
                cmocka_unit_test(test_hello_version),
                cmocka_unit_test(test_hello_refused),
                cmocka_unit_test(test_small_frames_only),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
