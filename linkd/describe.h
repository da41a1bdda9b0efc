/* Things of the agent as JSON: the members of an object that the caller has opened and closes, as
 * docs/IPC.md lists them. One place, so that lists, status and NOTIFY cannot disagree. */
#pragma once

#include "host.h"
#include "peer.h"

void describe_time(Buf *out, const char *name, time_t t);
/* `"uplinks":[{…},…]`. */
void describe_uplinks(Buf *out, const Host *h);
void describe_host(Buf *out, const Host *h);
void describe_invitation(Buf *out, const Invitation *i);
void describe_device(Buf *out, const Host *h, const Device *d);
void describe_peer(Buf *out, const Peer *p);
void describe_peer_session(Buf *out, const PeerLink *l);
void describe_host_session(Buf *out, const HostSession *s);
