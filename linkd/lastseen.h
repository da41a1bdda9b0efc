/* What is worth remembering but not a record: when devices were last seen, and which relay last led
 * to a peer. In plain files of their own, written late, which only tell more about what there is:
 * no write of them can bring back a device or peer that was removed, and nothing in them is secret
 * (of a relay only its place in the peer's list).
 *
 *   last-seen    lines of "KEYID SECONDS", a device each
 *   last-relay   lines of "KEYID PLACE", a peer each whose relay is not the first of its list */
#pragma once

#include "agent.h"

/* A failure is a warning, once until it works again, and noted in last_seen_failed: nothing depends
 * on them. */
void lastseen_write(Agent *a);
/* Whatever is wrong with a file is a warning; lines that mean nothing are passed over. */
void lastseen_read(Agent *a);
