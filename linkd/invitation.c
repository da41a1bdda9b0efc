#include "invitation.h"

#include <errno.h>
#include <sodium.h>

#include "clock.h"
#include "dialback.h"
#include "host.h"
#include "liblinkproto/b64u.h"
#include "log.h"
#include "watch.h"

/* No 0 O 1 I L U: what people mistake when reading aloud (the alphabet is part of the design). */
static const char code_alphabet[] = "23456789ABCDEFGHJKMNPQRSTVWXYZ";

static Secret *generate_code(void)
{
        Secret *code = secret_new(CODE_CHARS);

        for (size_t i = 0; code && i < CODE_CHARS; i++)
                code->data[i] =
                        (uint8_t)code_alphabet[randombytes_uniform(sizeof(code_alphabet) - 1)];
        return code;
}

/* An id whose text does not begin with '-', which would look like an option. */
static void generate_code_id(uint8_t id[CODE_ID_BYTES])
{
        char text[B64U_LEN(CODE_ID_BYTES) + 1];

        do {
                randombytes_buf(id, CODE_ID_BYTES);
                b64u_encode(id, CODE_ID_BYTES, text);
        } while (text[0] == '-');
}

static void on_expired(void *userdata)
{
        Invitation *i = userdata;

        log_info("host %s: an invitation has expired", i->host->name);
        invitation_close(i, "expired");
}

static Invitation *invitation_free(Invitation *i)
{
        if (!i)
                return NULL;
        secret_free(i->code);
        timer_free(i->timer);
        free(i);
        return NULL;
}

int invitation_open(Invitation **ret, Host *h, const char *code, bool has_code_id,
                    const char *label, uint64_t ttl_sec)
{
        Invitation *i, *old = has_code_id ? NULL : invitation_find(h, NULL);
        unsigned n = 0;

        for (i = h->invitations; i; i = i->next)
                n++;
        if (n - (old != NULL) >= INVITATIONS_MAX)
                return -EUSERS;
        i = calloc(1, sizeof(*i));
        if (!i)
                return -ENOMEM;
        i->host = h;
        i->has_code_id = has_code_id;
        if (has_code_id)
                generate_code_id(i->code_id);
        strncpy(i->label, label, sizeof(i->label) - 1); /* checked by the caller; zeroed */
        i->expires_at = time(NULL) + (time_t)ttl_sec;
        i->closes_msec = clock_boot_msec() + (int64_t)ttl_sec * 1000;
        i->code = code ? secret_copy(code, strlen(code)) : generate_code();
        i->timer = timer_new(h->agent->loop, on_expired, i);
        if (!i->code || !i->timer) {
                invitation_free(i);
                return -ENOMEM;
        }
        if (old)
                invitation_close(old, "replaced");
        timer_start(i->timer, ttl_sec * 1000);
        i->next = h->invitations;
        h->invitations = i;
        watch_tell_invitation(i, "opened", NULL);
        *ret = i;
        return 0;
}

void invitation_close(Invitation *i, const char *reason)
{
        for (Invitation **at = &i->host->invitations; *at; at = &(*at)->next)
                if (*at == i) {
                        *at = i->next;
                        break;
                }
        dialback_end_for(i->host, i, NULL);
        watch_tell_invitation(i, "closed", reason);
        invitation_free(i);
}

Invitation *invitation_find(Host *h, const uint8_t *code_id)
{
        for (Invitation *i = h->invitations; i; i = i->next)
                if (code_id ? i->has_code_id && memcmp(i->code_id, code_id, CODE_ID_BYTES) == 0
                            : !i->has_code_id)
                        return i;
        return NULL;
}

bool invitation_is_full(const Invitation *i)
{
        return i->failures + i->in_flight >= CODE_FAILURES_MAX;
}

bool invitation_reserve(Invitation *i)
{
        if (clock_boot_msec() >= i->closes_msec)
                return false; /* its timer will notice, a little later */
        if (invitation_is_full(i))
                return false;
        i->in_flight++;
        return true;
}

void invitation_refund(Invitation *i)
{
        i->in_flight--;
}

void invitation_fail(Invitation *i)
{
        i->in_flight--;
        i->failures++;
        log_warning("host %s: a wrong pairing code was tried (%u of %u)", i->host->name,
                    i->failures, CODE_FAILURES_MAX);
        watch_tell_invitation(i, "failed", NULL);
        if (i->failures >= CODE_FAILURES_MAX) {
                log_warning("host %s: the invitation is closed after too many wrong codes",
                            i->host->name);
                invitation_close(i, "burned");
        }
}
