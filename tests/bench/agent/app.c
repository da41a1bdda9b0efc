#include "app.h"

linkipc *app_open(const AppPlan *p)
{
        linkipc *l;
        int r = linkipc_open(&l, p->socket);

        if (r < 0)
                fatal("%s: %s", p->socket, strerror(-r));
        return l;
}

void app_step(linkipc *l)
{
        int r = linkipc_process(l);

        if (r == 0) {
                r = linkipc_wait(l, APP_WAIT_MSEC);
                if (r == 0)
                        fatal("nothing has come for %d s", APP_WAIT_MSEC / 1000);
        }
        if (r < 0)
                fatal("the agent: %s", linkipc_error_message(l));
}

linkipc_session *app_connect(linkipc *l, const AppPlan *p)
{
        linkipc_session *s;
        int r = linkipc_connect(l, p->peer, &s);

        if (r == 0)
                r = linkipc_session_wait(s, APP_WAIT_MSEC);
        if (r < 0)
                fatal("connect to %s: %s", p->peer, linkipc_error_message(l));
        while (!linkipc_session_is_framed(s))
                app_step(l);
        return s;
}

char *app_command(size_t n)
{
        char *text = malloc(n + 1);

        if (!text || n < 2)
                fatal("no command of %zu bytes", n);
        memset(text, 'x', n);
        text[0] = text[n - 1] = '"';
        text[n] = '\0';
        return text;
}

void app_fill(uint8_t *payload, size_t size)
{
        for (size_t i = 0; i < size; i++)
                payload[i] = (uint8_t)(i * 131 + (i >> 8));
}

void app_number(uint8_t *payload, size_t size, uint64_t number)
{
        write_u64le(payload, number);
        write_u64le(payload + size - 8, number);
}
