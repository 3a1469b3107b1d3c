/* What a run consists of: the server, the daemons that use it, the time, and what goes wrong. */
#pragma once

#include "model.h"
#include "random.h"
#include "run/runner.h"

#define WORLD_DAEMONS 4

/* What becomes of an action. */
enum fate {
    FATE_FINE,
    FATE_NEVER_SENT,    /* the connection was gone before: lost, not executed */
    FATE_ROLLED_BACK,   /* ... went while it ran */
    FATE_ANSWER_LOST,   /* ... went after its commit */
    FATE_REFUSED,       /* the server answers with an error */
};

/* The action that a runner is waiting for: first the server executes it, later the answer arrives. */
struct statement {
    bool under_way, executed;
    struct runner_action action;
    enum job_phase phase;     /* the runner's */
    struct model_batch batch; /* BOUND, BATCH, PUT_ASIDE: of the runner when it was sent */
    enum fate fate;
    const char *sqlstate, *message; /* of FATE_REFUSED */
    uint64_t sent_us, execute_us, answer_us;
    struct runner_event answer;
    char cursor[16], upper[16], bound[16];
};

struct daemon {
    bool alive;
    bool stopping;             /* told to end by its service manager */
    int session, lost_session; /* of control; 0: lost, and comes back at session_back_us */
    uint64_t session_back_us;
    uint64_t poll_us, notice_us; /* when it looks for work, and at the job's wishes; 0: not planned */
    bool has_runner;
    struct runner runner;
    struct statement statement;
    int first, slice, after;       /* of the relations that were listed last, how many they are, and how many were planned before */
    int surveyed[MODEL_RELATIONS]; /* the last key of each */
    struct model_cuts cuts[MODEL_RELATIONS];
    int token;                     /* of its claim, or of the slot in which it helps */
    int slot;                      /* 0: it holds the job, or nothing */
    int planned;                   /* the control session that its plan was begun on; 0: none */
    enum job_wanted heard;
    bool session_open; /* the worker's, as far as its runner was told */
    bool session_gone; /* and whether it went with the server */
    bool must_leave;   /* after what it was told, its runner may begin no more work */
    int altered;       /* names found gone since the last batch that was done */
    int outage_tries;
    bool clears;              /* the step in hand only clears away */
    uint64_t no_room_us;      /* when a step last found no room; 0: none did since one was done */
    uint64_t waits_since_us;  /* something was in the way, and nothing was done since; 0: it isn't so */
};

/* Of 1000 actions, how many meet with each; a run has its own mixture, so that some faults come alone. */
struct fault_rates {
    uint32_t never_sent, rolled_back, answer_lost, refused, slow;
};

/* How often something happens beside the actions, as shares of each other. */
enum world_event {
    EVENT_NOTHING,
    EVENT_KILL,
    EVENT_START,
    EVENT_CONTROL_LOST,
    EVENT_PAUSE,
    EVENT_RESUME,
    EVENT_CANCEL,
    EVENT_STOP,
    EVENT_STOP_NOW,
    EVENT_DELETE,
    EVENT_INSERT,
    EVENT_OUTAGE,
    EVENT_RETRY,
    EVENT_LIMITS,
    EVENT_WORKERS,
    EVENT_LOCK,
    EVENT_WRITE,
    EVENT_MOVE,
    EVENT_CRASH,
    EVENT_FAILOVER,
    EVENT_REFUSE,
    EVENT_QUEUE,
    _WORLD_EVENT_MAX,
};

#define WORLD_PASTS 4

struct world {
    int last_token;
    struct model model;
    /* What the server, or a standby, may go back to; the oldest first. Behind what is flushed only a failover goes. */
    struct model pasts[WORLD_PASTS];
    bool past_is_flushed[WORLD_PASTS];
    int n_pasts;
    struct daemon daemons[WORLD_DAEMONS];
    struct random random;
    struct fault_rates rates;
    struct runner_limits limits;
    uint32_t greatest_keys; /* the greatest limit that was ever in force */
    uint32_t event_shares[_WORLD_EVENT_MAX];
    uint32_t event_gap_us;
    uint32_t timeout_keys; /* a batch of more takes too long, always; 0: none does */
    uint64_t now_us, event_us;
    enum world_event due;                      /* what happens then; EVENT_NOTHING: it is drawn */
    int due_to;                                /* and to which daemon */
    uint64_t outage_began_us, outage_until_us; /* no server meanwhile */
    bool integers;                             /* the key is one: bounds are reckoned where rows stand side by side */
    bool crowded;                              /* all places are taken, and others queue for them */
    uint64_t crowded_since_us;                 /* and there was a server since */
    bool calm;                                 /* nothing goes wrong any more */
    bool may_fail;                             /* an error was sent that ends a job */
    int retries;
    uint32_t steps, calm_after, calm_steps;
    bool verbose;
    const char *broken; /* NULL, or what should not have been */
};

/* daemon.c */
void daemon_start(struct world *w, struct daemon *d);
void daemon_kill(struct world *w, struct daemon *d);
void daemon_lose_control(struct world *w, struct daemon *d);
void daemon_stop(struct world *w, struct daemon *d, enum runner_want want);
/* When something happens to it next; UINT64_MAX: never. And that. */
uint64_t daemon_next_us(const struct daemon *d);
void daemon_turn(struct world *w, struct daemon *d);

/* faults.c: what becomes of the action that d's runner has just asked for, and when. */
void fault_decide(struct world *w, struct daemon *d);
/* The runner wants it cut short. */
void fault_abort(struct world *w, struct daemon *d);

/* The server is gone, with both of its sessions. */
void daemon_lose_server(struct world *w, struct daemon *d);

/* past.c: what a crash or a failover takes. */
void past_note(struct world *w);  /* perhaps it comes back to what is so now */
void past_flush(struct world *w); /* no crash goes behind this any more */
void past_return(struct world *w, bool failover);
void past_threaten(struct world *w, const struct daemon *d); /* perhaps something happens soon, for what its runner asks */

/* chaos.c */
/* The user writes; the daemons hear of it a little later. */
void user_wants(struct world *w, enum job_wanted wanted);
void world_break(struct world *w, const char *promise);
__attribute__((format(printf, 3, 4))) void world_trace(
    const struct world *w, const struct daemon *d, const char *format, ...);
/* One run of a job among faults. NULL, or what broke. */
const char *chaos_run(uint64_t seed, bool verbose);
