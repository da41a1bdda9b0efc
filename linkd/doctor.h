/* Looks over the whole agent: state directory, hosts, peers, and the way to each relay. */
#pragma once

#include "agent.h"
#include "liblinkproto/buf.h"

typedef struct Doctor Doctor;

/* Called once, never from inside doctor_start; the doctor ends itself after the call. relays and
 * findings: elements of the lists of docs/IPC.md. */
typedef void (*DoctorFunc)(void *userdata, const Buf *relays, const Buf *findings);

/* One at a time. 0; -EBUSY; -ENOMEM. */
int doctor_start(Doctor **ret, Agent *a, DoctorFunc func, void *userdata) _must_use_;
/* Gives up without a call. NULL is fine. */
Doctor *doctor_free(Doctor *d);
