/* The library when memory runs out, at each place in turn: what was started is told exactly once,
 * outputs stay untouched on failure, nothing leaks (the sanitizers look). Allocations are replaced
 * by the linker (--wrap); the agent's own are not made to fail. */
#include "agent.h"

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);

static bool armed;     /* the library is running */
static int until_fail; /* allocations that still succeed; negative: one has failed */
static bool for_ever;  /* all fail after the first */

static bool fails(void)
{
        if (!armed || (until_fail < 0 && !for_ever))
                return false;
        return until_fail < 0 || until_fail-- == 0;
}

void *__wrap_malloc(size_t n)
{
        return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
        return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
        return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
        return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
        return fails() ? NULL : __real_strndup(s, n);
}

/* The library runs only in here. */
#define LIB(call)                                                                                  \
        ({                                                                                         \
                armed = true;                                                                      \
                __typeof__(call) _r = (call);                                                      \
                armed = false;                                                                     \
                _r;                                                                                \
        })

typedef struct Story {
        linkipc *l;
        linkipc_session *s;
        linkipc_reply *kept;
        int fd;
        int started, told;
} Story;

static void on_told(linkipc *l, const linkipc_result *result, void *userdata)
{
        (void)l;
        assert_true(result->error <= 0 && result->word && result->message && result->json);
        ((Story *)userdata)->told++;
}

static void on_notify(linkipc *l, const char *topic, const char *json, size_t len, void *userdata)
{
        (void)l;
        (void)len;
        (void)userdata;
        assert_string_equal(topic, "n");
        assert_string_equal(json, "{}");
}

static void on_request(linkipc_session *s, linkipc_reply *reply, const char *command, size_t len,
                       void *userdata)
{
        Story *story = userdata;

        (void)s;
        (void)len;
        if (strcmp(command, "1") == 0)
                story->kept = linkipc_reply_ref(reply);
        else if (strcmp(command, "2") == 0)
                (void)linkipc_reply_error(reply, "no"); /* may fail: it is dropped then */
}

static void say(Story *story, const IpcMessage *m)
{
        Buf b = {0};

        assert_int_equal(ipcmsg_encode(&b, m), 0);
        /* The library may have ended the connection. */
        ssize_t n = send(story->fd, b.data, b.len, MSG_NOSIGNAL);
        assert_true(n == (ssize_t)b.len || errno == EPIPE);
        buf_done(&b);
        int r = LIB(pump(story->l));
        assert_true(r == 0 || r == -ENOMEM);
}

static void started(Story *story, int r)
{
        assert_true(r == 0 || r == -ENOMEM);
        story->started += r == 0;
}

/* Numbers of the library's questions are 1, 2, … if all goes well; else the agent answers nobody,
 * which is nothing but a late answer. */
static void talk(Story *t)
{
        char *json = NULL;

        linkipc_on_notify(t->l, on_notify, t);
        linkipc_on_request(t->l, on_request, t);
        say(t,
            &(IpcMessage){
                    .type = IPC_HELLO, .version = 1, .max_frame = 1 << 20, .name = ipc_str("a")});
        say(t, &(IpcMessage){.type = IPC_NOTIFY, .name = ipc_str("n"), .json = ipc_str("{}")});
        started(t, LIB(linkipc_serve_async(t->l, NULL, 3, on_told, t, NULL)));
        started(t, LIB(linkipc_call_async(t->l, "m", "{}", 0, on_told, t, NULL)));
        started(t, LIB(linkipc_ask_async(t->l, "p", "1", 0, on_told, t, NULL)));
        started(t, LIB(linkipc_ask_async(t->l, "p", "1", 0, on_told, t, NULL)));
        if (t->started < 4)
                return; /* the numbers would be others */
        say(t, &(IpcMessage){.type = IPC_RESULT, .request = 1, .json = ipc_str("{}")});
        say(t, &(IpcMessage){.type = IPC_ERROR,
                             .request = 2,
                             .name = ipc_str("busy"),
                             .message = ipc_str("m")});
        say(t, &(IpcMessage){.type = IPC_RESPONSE, .request = 3, .json = ipc_str("\"\\u00fc\"")});
        say(t, &(IpcMessage){.type = IPC_INCOMING,
                             .session = 1,
                             .window = 100000,
                             .json = ipc_str("{\"host\":\"h\",\"keyId\":\"k\",\"label\":\"\"}")});
        if (LIB(linkipc_process(t->l)) < 0)
                return;
        for (uint32_t i = 1; i <= 3; i++) {
                char command[2] = {(char)('0' + i), 0};
                say(t, &(IpcMessage){.type = IPC_REQUEST,
                                     .session = 1,
                                     .request = i,
                                     .json = ipc_str(command)});
        }
        if (LIB(linkipc_process(t->l)) < 0)
                return;
        int r = LIB(linkipc_connect(t->l, "home", &t->s));
        assert_true(r == 0 ? t->s != NULL : r == -ENOMEM && t->s == NULL);
        if (r < 0)
                return;
        say(t, &(IpcMessage){.type = IPC_OPENED,
                             .session = 2,
                             .request = 5,
                             .window = 100000,
                             .json = ipc_str("{}")});
        say(t, &(IpcMessage){.type = IPC_STATE,
                             .session = 2,
                             .state = 3,
                             .name = ipc_str("closed"),
                             .message = ipc_str("m")});
        r = LIB(linkipc_request_async(t->s, "1", 0, on_told, t, NULL));
        t->started += r == 0;
        r = LIB(linkipc_send_async(t->s, "1", "p", 1, on_told, t, NULL));
        t->started += r == 0;
        if (t->kept)
                (void)LIB(linkipc_reply_ok(t->kept, "1"));
        if (LIB(linkipc_process(t->l)) < 0)
                return;
        r = LIB(linkipc_call(t->l, "m", NULL, 1, &json, NULL));
        assert_true(r < 0 && json == NULL);
        say(t, &(IpcMessage){.type = IPC_STATE,
                             .session = 2,
                             .state = 4,
                             .name = ipc_str("revoked"),
                             .message = ipc_str("m")});
}

/* Whether the story was told to its end without running out. */
static bool tell(int allocations, bool all)
{
        Story t = {0};
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        until_fail = allocations;
        for_ever = all;
        int r = LIB(linkipc_open_fd(&t.l, fds[0]));
        if (r < 0) {
                assert_int_equal(r, -ENOMEM);
                assert_null(t.l);
                assert_int_equal(close(fds[0]), 0); /* it stayed ours */
        } else {
                t.fd = fds[1];
                talk(&t);
                (void)LIB(linkipc_reply_unref(t.kept));
                (void)LIB(linkipc_session_unref(t.s));
                (void)LIB(linkipc_unref(t.l));
        }
        assert_int_equal(close(fds[1]), 0);
        assert_int_equal(t.told, t.started);
        return until_fail >= 0;
}

static void test_runs_out(void **state)
{
        int n = 0;

        (void)state;
        while (!tell(n, false))
                n++;
        assert_true(n > 30); /* else the story is short */
        for (int i = 0; i < n; i++)
                assert_false(tell(i, true));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_runs_out),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
