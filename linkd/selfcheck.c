#include "selfcheck.h"

#include <errno.h>

#include "liblinkproto/control.h"
#include "liblinkproto/credential.h"
#include "limits.h"

struct SelfCheck {
        Agent *agent;
        char *url;
        char address[ADDRESS_CHARS + 1];
        Ws *ws;
        Timer *timer;
        SelfCheckFunc func;
        void *userdata;
};

SelfCheck *self_check_free(SelfCheck *k)
{
        if (!k)
                return NULL;
        ws_free(k->ws);
        timer_free(k->timer);
        free(k->url);
        free(k);
        return NULL;
}

static void finish(SelfCheck *k, SelfCheckResult result, const char *why)
{
        k->func(k->userdata, result, why);
        self_check_free(k);
}

static void on_timer(void *userdata)
{
        finish(userdata, SELF_CHECK_FAILED, "the relay did not answer");
}

static void on_open(void *userdata)
{
        SelfCheck *k = userdata;
        char text[512];
        int r;

        if (pace_delay_msec(k->agent->pace, k->url, PACE_RESOLVE, uv_now(k->agent->loop))) {
                finish(k, SELF_CHECK_FAILED, "the relay was asked as often as it allows");
                return;
        }
        pace_spend(k->agent->pace, k->url, uv_now(k->agent->loop));
        r = control_encode(CONTROL_RESOLVE, NULL, k->address, NULL, text, sizeof(text));
        if (r >= 0)
                r = ws_send_text(k->ws, text, (size_t)r);
        if (r < 0)
                finish(k, SELF_CHECK_FAILED, strerror(-r));
        else
                timer_start(k->timer, CONTROL_STEP_MSEC);
}

static void on_message(void *userdata, bool text, uint8_t *data, size_t len)
{
        SelfCheck *k = userdata;
        ControlMessage m;

        if (!text || control_decode((const char *)data, len, &m) < 0)
                finish(k, SELF_CHECK_FAILED, "the relay sent garbage");
        else if (m.type == CONTROL_FOUND)
                finish(k, SELF_CHECK_KNOWN, "");
        else if (m.type == CONTROL_ERROR && strcmp(m.error, "unknown_address") == 0)
                finish(k, SELF_CHECK_UNKNOWN, "");
        else if (m.type == CONTROL_ERROR)
                finish(k, SELF_CHECK_FAILED, m.error);
}

static void on_closed(void *userdata, unsigned code, const char *reason)
{
        (void)code;
        finish(userdata, SELF_CHECK_FAILED, reason);
}

static const WsHandler ws_handler = {
        .on_open = on_open,
        .on_message = on_message,
        .on_closed = on_closed,
};

int self_check_start(SelfCheck **ret, Agent *a, const char *url, const char *address,
                     SelfCheckFunc func, void *userdata)
{
        SelfCheck *k = calloc(1, sizeof(*k));
        int r;

        if (!k)
                return -ENOMEM;
        k->agent = a;
        k->func = func;
        k->userdata = userdata;
        memcpy(k->address, address, sizeof(k->address));
        k->url = strdup(url);
        k->timer = timer_new(a->loop, on_timer, k);
        r = !k->url || !k->timer
                    ? -ENOMEM
                    : ws_dial(&k->ws, a->ws, url, address, CONNECT_MSEC, &ws_handler, k);
        if (r < 0) {
                self_check_free(k);
                return r;
        }
        *ret = k;
        return 0;
}
