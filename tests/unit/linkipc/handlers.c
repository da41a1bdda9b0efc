#include "handlers.h"

void log_state(linkipc_session *s, int state, void *userdata)
{
        Log *log = userdata;

        log->states++;
        log->state = state;
        log->session = s;
        assert_int_equal(linkipc_session_get_state(s), state);
}

void log_event(linkipc_session *s, const char *data, size_t len, const void *payload,
               size_t payload_len, void *userdata)
{
        Log *log = userdata;

        assert_non_null(s);
        log->events++;
        log->event_len = len;
        log->payload_len = payload_len;
        log->has_payload = payload;
        assert_int_equal(strlen(data), len);
        (void)snprintf(log->event, sizeof log->event, "%s", data);
        if (payload)
                memcpy(log->payload, payload, MIN(payload_len, sizeof log->payload));
}

void log_request(linkipc_session *s, linkipc_reply *reply, const char *command, size_t len,
                 void *userdata)
{
        Log *log = userdata;

        log->requests++;
        assert_ptr_equal(linkipc_reply_get_session(reply), s);
        assert_int_equal(strlen(command), len);
        (void)snprintf(log->command, sizeof log->command, "%s", command);
        if (log->keep)
                log->reply = linkipc_reply_ref(reply);
        else if (log->answer)
                assert_int_equal(linkipc_reply_ok(reply, log->answer), 0);
}

void log_writable(linkipc_session *s, void *userdata)
{
        Log *log = userdata;

        assert_true(linkipc_session_get_credit(s) > 0);
        log->writables++;
}

void log_cancel(linkipc_reply *r, void *userdata)
{
        Log *log = userdata;

        assert_int_equal(linkipc_reply_is_cancelled(r), 1);
        log->cancels++;
}

void listen_all(linkipc *l, Log *log)
{
        linkipc_on_state(l, log_state, log);
        linkipc_on_event(l, log_event, log);
        linkipc_on_request(l, log_request, log);
        linkipc_on_writable(l, log_writable, log);
}

linkipc_session *connected(TestAgent *a, Log *log, uint32_t window)
{
        linkipc_session *s = NULL;

        agent_open_hello(a);
        log->agent = a;
        listen_all(a->link, log);
        assert_int_equal(linkipc_connect(a->link, "home", &s), 0);
        agent_opens(a, 1, window);
        agent_send_state(a, 1, IPC_STATE_CONNECTED, "", "");
        pump(a->link);
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CONNECTED);
        return s;
}

linkipc_session *served(TestAgent *a, Log *log, uint32_t window)
{
        uint32_t id;

        agent_open_hello(a);
        log->agent = a;
        listen_all(a->link, log);
        assert_int_equal(linkipc_serve_async(a->link, NULL, 3, NULL, NULL, &id), 0);
        agent_send_result(a, 0, agent_pump_expect(a, IPC_SERVE).request, "{}");
        agent_announces(a, 1, window,
                        "{\"host\":\"default\",\"keyId\":\"K-1\",\"label\":\"Ann\\n\"}");
        pump(a->link);
        assert_int_equal(log->states, 1);
        assert_int_equal(log->state, LINKIPC_CONNECTED);
        return log->session;
}

size_t frame_len(size_t body)
{
        return IPC_HEAD_BYTES + body;
}
