#include "run/action.h"

static const char *const action_names[] = {
    [RUNNER_NONE] = "none",
    [RUNNER_ABORT] = "abort",
    [RUNNER_CONNECT] = "connect",
    [RUNNER_LAYOUT] = "layout",
    [RUNNER_SURVEY] = "survey",
    [RUNNER_ADD_RANGE] = "add range",
    [RUNNER_BEGIN] = "begin",
    [RUNNER_NEXT_STEP] = "next step",
    [RUNNER_STEP] = "step",
    [RUNNER_TAKE] = "take",
    [RUNNER_BOUND] = "bound",
    [RUNNER_BATCH] = "batch",
    [RUNNER_RETRY] = "retry",
    [RUNNER_COMPARE] = "compare",
    [RUNNER_PUT_ASIDE] = "put aside",
    [RUNNER_HAND_OVER] = "hand over",
    [RUNNER_REST] = "rest",
    [RUNNER_GIVE_WAY] = "give way",
    [RUNNER_FINISH] = "finish",
    [RUNNER_RELEASE] = "release",
    [RUNNER_END] = "end",
};

const char *runner_action_name(enum runner_action_kind kind)
{
    return action_names[kind];
}

bool action_is_work(enum runner_action_kind kind)
{
    return kind == RUNNER_BATCH || kind == RUNNER_RETRY;
}

bool action_is_felt(enum runner_action_kind kind)
{
    return action_is_work(kind) || kind == RUNNER_STEP || kind == RUNNER_SURVEY || kind == RUNNER_COMPARE;
}

bool action_is_paced(enum runner_action_kind kind)
{
    return action_is_work(kind) || kind == RUNNER_BOUND;
}

bool action_has_session(enum runner_action_kind kind)
{
    return action_is_felt(kind) || kind == RUNNER_CONNECT || kind == RUNNER_BOUND;
}
