#include "agent.h"

/* ---- both ends ---- */

void agent_open(TestAgent *a)
{
        int fds[2];

        *a = (TestAgent){.fd = -1};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        a->fd = fds[1];
        assert_int_equal(linkipc_open_fd(&a->link, fds[0]), 0);
}

void agent_open_hello(TestAgent *a)
{
        agent_open(a);
        IpcMessage m = agent_pump_expect(a, IPC_HELLO);
        assert_int_equal(m.version, 1);
        agent_send_hello(a);
        pump(a->link);
        assert_string_equal(linkipc_get_agent(a->link), "testd 1");
}

void agent_hang_up(TestAgent *a)
{
        if (a->fd >= 0)
                assert_int_equal(close(a->fd), 0);
        a->fd = -1;
}

void agent_close(TestAgent *a)
{
        agent_join(a);
        linkipc_unref(a->link);
        agent_hang_up(a);
        buf_done(&a->in);
}

static void *run(void *userdata)
{
        TestAgent *a = userdata;

        a->script(a);
        return NULL;
}

void agent_start(TestAgent *a, void (*script)(TestAgent *a))
{
        a->script = script;
        a->threaded = true;
        assert_int_equal(pthread_create(&a->thread, NULL, run, a), 0);
}

void agent_join(TestAgent *a)
{
        if (a->threaded)
                assert_int_equal(pthread_join(a->thread, NULL), 0);
        a->threaded = false;
}

/* ---- in ---- */

/* Bytes, 0 at the end. A reset is an end too: the library closes without having read all. */
static size_t read_some(TestAgent *a)
{
        struct pollfd p = {.fd = a->fd, .events = POLLIN};
        const size_t want = 65536;

        if (a->pumping)
                pump(a->link);
        assert_int_equal(poll(&p, 1, PATIENCE_MSEC), 1);
        assert_int_equal(buf_reserve(&a->in, want), 0);
        ssize_t n = recv(a->fd, a->in.data + a->in.len, want, 0);
        if (n < 0 && errno == ECONNRESET)
                n = 0;
        assert_true(n >= 0);
        a->in.len += (size_t)n;
        return (size_t)n;
}

IpcMessage agent_expect(TestAgent *a, IpcType type)
{
        const char *fault = NULL;
        IpcMessage m = {0};
        size_t used;

        buf_drop(&a->in, a->used);
        a->used = 0;
        for (;;) {
                int r = ipcmsg_decode(a->in.data, a->in.len, false, &m, &used, &fault);
                if (r < 0)
                        fail_msg("the library wrote a malformed frame: %s", fault);
                if (r > 0 && (m.type != IPC_CREDIT || !a->skip_credit))
                        break;
                if (r > 0)
                        buf_drop(&a->in, used);
                else if (read_some(a) == 0)
                        fail_msg("the library has hung up instead of sending type %d", type);
        }
        a->used = used;
        assert_int_equal(m.type, type);
        return m;
}

IpcMessage agent_pump_expect(TestAgent *a, IpcType type)
{
        pump(a->link);
        a->pumping = true;
        IpcMessage m = agent_expect(a, type);
        a->pumping = false;
        return m;
}

void agent_expect_nothing(TestAgent *a)
{
        char c;

        pump(a->link);
        assert_int_equal(a->in.len, a->used);
        assert_int_equal(recv(a->fd, &c, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
}

void agent_expect_end(TestAgent *a)
{
        while (read_some(a) > 0)
                ;
}

/* ---- out ---- */

void agent_send_bytes(TestAgent *a, const void *p, size_t n)
{
        const char *at = p;

        while (n > 0) {
                ssize_t k = send(a->fd, at, n, MSG_NOSIGNAL);
                assert_true(k > 0);
                at += k;
                n -= (size_t)k;
        }
}

void agent_send(TestAgent *a, const IpcMessage *m)
{
        Buf b = {0};

        assert_int_equal(ipcmsg_encode(&b, m), 0);
        agent_send_bytes(a, b.data, b.len);
        buf_done(&b);
}

void agent_send_hello(TestAgent *a)
{
        agent_send(a, &(IpcMessage){
                              .type = IPC_HELLO,
                              .version = 1,
                              .max_frame = IPC_FRAME_MAX,
                              .name = ipc_str("testd 1"),
                      });
}

void agent_send_error(TestAgent *a, uint32_t session, uint32_t request, const char *word,
                      const char *message, int error_no)
{
        agent_send(a, &(IpcMessage){
                              .type = IPC_ERROR,
                              .session = session,
                              .request = request,
                              .name = ipc_str(word),
                              .message = ipc_str(message),
                              .error_no = (uint32_t)error_no,
                      });
}

void agent_send_result(TestAgent *a, uint32_t session, uint32_t request, const char *json)
{
        agent_send(a, &(IpcMessage){
                              .type = IPC_RESULT,
                              .session = session,
                              .request = request,
                              .json = ipc_str(json),
                      });
}

void agent_send_response(TestAgent *a, uint32_t session, uint32_t request, bool ok,
                         const char *json)
{
        agent_send(a, &(IpcMessage){
                              .type = IPC_RESPONSE,
                              .flags = ok ? IPC_FLAG_OK : 0,
                              .session = session,
                              .request = request,
                              .json = ipc_str(json),
                      });
}

void agent_send_state(TestAgent *a, uint32_t session, IpcState state, const char *word,
                      const char *message)
{
        agent_send(a, &(IpcMessage){
                              .type = IPC_STATE,
                              .session = session,
                              .state = (uint8_t)state,
                              .name = ipc_str(word),
                              .message = ipc_str(message),
                      });
}

void agent_send_request(TestAgent *a, uint32_t session, uint32_t request, const char *json)
{
        agent_send(a, &(IpcMessage){
                              .type = IPC_REQUEST,
                              .session = session,
                              .request = request,
                              .json = ipc_str(json),
                      });
}

void agent_send_event(TestAgent *a, uint32_t session, const char *json, const void *payload,
                      size_t n)
{
        agent_send(a, &(IpcMessage){
                              .type = IPC_EVENT,
                              .session = session,
                              .json = ipc_str(json),
                              .payload = payload,
                              .payload_len = n,
                      });
}

void agent_send_credit(TestAgent *a, uint32_t session, uint32_t bytes)
{
        agent_send(a, &(IpcMessage){.type = IPC_CREDIT, .session = session, .window = bytes});
}

void agent_opens(TestAgent *a, uint32_t session, uint32_t window)
{
        IpcMessage m =
                a->threaded ? agent_expect(a, IPC_CONNECT) : agent_pump_expect(a, IPC_CONNECT);

        agent_send(a, &(IpcMessage){
                              .type = IPC_OPENED,
                              .session = session,
                              .request = m.request,
                              .window = window,
                              .json = ipc_str("{\"peer\":\"home\"}"),
                      });
}

void agent_announces(TestAgent *a, uint32_t session, uint32_t window, const char *info)
{
        agent_send(a, &(IpcMessage){
                              .type = IPC_INCOMING,
                              .session = session,
                              .window = window,
                              .json = ipc_str(info),
                      });
}

/* ---- the library ---- */

int pump(linkipc *l)
{
        int r;

        do
                r = linkipc_process(l);
        while (r > 0);
        return r;
}

void pump_once(linkipc *l)
{
        int r = linkipc_process(l);

        assert_true(r >= 0);
        if (r == 0)
                assert_int_equal(linkipc_wait(l, PATIENCE_MSEC), 1);
}

void on_seen(linkipc *l, const linkipc_result *result, void *userdata)
{
        Seen *seen = userdata;

        assert_non_null(l);
        seen->calls++;
        seen->error = result->error;
        seen->json_len = result->json_len;
        assert_int_equal(strlen(result->json), result->json_len);
        (void)snprintf(seen->word, sizeof seen->word, "%s", result->word);
        (void)snprintf(seen->message, sizeof seen->message, "%s", result->message);
        (void)snprintf(seen->json, sizeof seen->json, "%s", result->json);
}

uint64_t test_now_usec(void)
{
        struct timespec ts;

        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

bool str_is(IpcStr s, const char *t)
{
        return s.n == strlen(t) && memcmp(s.p, t, s.n) == 0;
}
