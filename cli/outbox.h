/* What serve sends: at once if the session takes it, else in order when it does. Meanwhile the
 * session is held, so that what waits stays within what the agent may send ahead. */
#pragma once

#include <linkipc.h>
#include "liblinkproto/util.h"

typedef struct Outgoing Outgoing;

typedef struct Outbox {
        Outgoing *first, **end;
} Outbox;

void outbox_init(Outbox *o);
/* Drops what waits. Before the connection goes. */
void outbox_done(Outbox *o);

/* An answer: JSON text, or an error's text. text is copied if it must wait. 0; negative errno: it
 * will not be sent (-ECANCELED: nobody wants it; others: the reply's owner may still send an
 * error). */
int outbox_answer(Outbox *o, linkipc_reply *reply, bool ok, const char *text);
/* An event. The same; payload NULL: none. */
int outbox_event(Outbox *o, linkipc_session *s, const char *data, const void *payload, size_t n);

/* From the writable handler, and from the state handler of a closed session. */
void outbox_on_writable(Outbox *o, linkipc_session *s);
void outbox_on_closed(Outbox *o, const linkipc_session *s);
