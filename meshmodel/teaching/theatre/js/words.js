// What happens, in words: the card under a stage, and what a screen reader hears.

// {text, draws?}: what event k of a panel is; draws are LEAST_REQUEST's two, with the one that it took.
function describe(play, k) {
  const row = play.events.row[k];
  switch (play.events.kind[k]) {
    case SENT: return { text: tr("{} sends {}.", sender(play, row), requestName(play, row)) };
    case PICKED: return picked(play, row);
    case GRANTED: return granted(play, row);
    case ENDED: return ended(play, row);
    case ANSWERED: return answered(play, row);
    default: return hostEvent(play, row);
  }
}

const placeName = (play, place) => play.panel.stage.names[place] ?? tr("nobody");
const requestName = (play, row) => tr("request {}", play.requests.number[play.visits.request[row]]);

function tryName(play, row) {
  const number = play.visits.number[row];
  return number > 1 ? tr("{}, try {}", requestName(play, row), number) : requestName(play, row);
}

function sender(play, row) {
  const connection = play.requests.connection[play.visits.request[row]];
  return connection < 0 ? tr("The load") : tr("Connection {}", connection);
}

function policyAt(play, hop, t) {
  return play.panel.policies[hop].filter(([from]) => from <= t).at(-1)[1];
}

function picked(play, row) {
  const v = play.visits, who = placeName(play, v.origin[row]), what = tryName(play, row), pod = placeName(play, v.target[row]);
  const outcome = play.panel.outcomes[v.outcome[row]];
  if (v.target[row] < 0) return { text: tr("{} has no pod for {}: {}.", who, what, outcomeName(outcome)) };
  const queue = v.sent[row] - v.began[row] > play.panel.pause || !(v.sent[row] >= 0) ? [tr("No connection is free: it waits.")] : [];
  const again = v.number[row] > 1 ? [tr("Tried before: {}.", triedBefore(play, row).join(", "))] : [];
  const text = (chosen) => [chosen, ...again, ...queue].join(" ");
  if (v.first[row] >= 0) return { ...twoDraws(play, row), text: text(tr("{} draws two pods for {}: {}", who, what, verdict(play, row))) };
  return { text: text(tr("{} sends {} to {}: {}.", who, what, pod, reason(play, row))) };
}

function granted(play, row) {
  const v = play.visits, waited = duration(v.sent[row] - v.began[row]);
  return { text: tr("A connection to {} is free: {} is sent after {} in the queue.", placeName(play, v.target[row]), tryName(play, row), waited) };
}

function twoDraws(play, row) {
  const v = play.visits;
  const draw = (place, active) => ({ place, name: placeName(play, place), active, taken: place === v.target[row] });
  return { draws: [draw(v.first[row], v.first_active[row]), draw(v.second[row], v.second_active[row])] };
}

function verdict(play, row) {
  const v = play.visits, [first, second] = [placeName(play, v.first[row]), placeName(play, v.second[row])];
  const [a, b] = [v.first_active[row], v.second_active[row]], taken = placeName(play, v.target[row]);
  if (v.target[row] !== v.first[row] && v.target[row] !== v.second[row]) return tr("both were tried before; {} was drawn in the end.", taken);
  if (v.first[row] === v.second[row]) return tr("twice {}, so it gets the request, however many wait there.", first);
  if (a === b) return tr("{} active each: the first draw, {}, stays.", a, first);
  return tr("{} has fewer active ({} against {}) and takes it.", ...(b < a ? [second, b, a] : [first, a, b]));
}

// Why a policy without draws took this pod.
function reason(play, row) {
  const v = play.visits, policy = policyAt(play, v.hop[row], v.began[row]);
  if (policy === "RANDOM") return tr("RANDOM, however many wait there");
  if (policy === "RING_HASH" || policy === "MAGLEV") return tr("{}, where its hash points to", policy);
  if (policy === "LEAST_REQUEST") return tr("LEAST_REQUEST; which two it drew is not told");
  if (v.worker[row] < 0) return tr("{}, in turn; which of its workers picked is not told", policy);
  const before = pickBefore(play, row);
  const turn = before < 0 ? tr("the first of this worker") : tr("after {}", placeName(play, v.target[before]));
  return tr("{}, in turn ({}; worker {})", policy, turn, v.worker[row]);
}

// The latest pick before this one by the same proxy and worker, -1 if there is none.
function pickBefore(play, row) {
  const v = play.visits;
  let best = -1;
  for (let k = row - 1; k >= play.requests.rows; k--) {
    if (v.hop[k] !== v.hop[row] || v.origin[k] !== v.origin[row] || v.worker[k] !== v.worker[row] || v.target[k] < 0) continue;
    if (best < 0 || v.began[k] > v.began[best]) best = k;
    if (row - k > 400) break; // attempts stand in order of their time
  }
  return best;
}

function triedBefore(play, row) {
  const found = [];
  for (let k = play.previous[row]; k >= 0; k = play.previous[k]) {
    if (play.visits.target[k] >= 0) found.unshift(placeName(play, play.visits.target[k]));
  }
  return found.length ? found : [tr("none")];
}

function ended(play, row) {
  const v = play.visits, pod = placeName(play, v.target[row]), outcome = play.panel.outcomes[v.outcome[row]];
  const took = duration(v.end[row] - (v.sent[row] >= 0 ? v.sent[row] : v.began[row])), who = placeName(play, v.origin[row]);
  return { text: [howItEnded(outcome, pod, who, tryName(play, row), took), ...whatFollows(play, row, outcome)].join(" ") };
}

function howItEnded(outcome, pod, who, what, took) {
  switch (outcome) {
    case "refused": return tr("{} refuses the connection of {}.", pod, what);
    case "reset": return tr("{} resets {} after {}.", pod, what, took);
    case "per try timeout": return tr("perTryTimeout: {} gives {} up after {}; {} works on.", who, what, took, pod);
    case "timeout": return tr("timeout: {} gives {} up after {} at {}.", who, what, took, pod);
    case "overflow": return tr("{} refuses {}: a limit is reached (overflow).", who, what);
    case "no healthy upstream": return tr("{} has no healthy pod for {}.", who, what);
    case "abandoned": return tr("Nobody waits for {} any more: {} abandons it.", what, who);
    default: return tr("{} answers {} with {} after {}.", pod, what, outcome, took);
  }
}

function outcomeName(outcome) {
  return { overflow: tr("a limit is reached (overflow)"), "no healthy upstream": tr("no pod is healthy") }[outcome] ?? outcome;
}

function whatFollows(play, row, outcome) {
  const next = play.next[row], fine = /^[123]\d\d$/.test(outcome);
  if (next >= 0 && play.visits.began[next] >= play.visits.end[row]) return [tr("Tried again after {} of back-off.", duration(play.visits.back_off[next]))];
  return fine ? [] : [tr("{} does not try again.", placeName(play, play.visits.origin[row]))];
}

function answered(play, row) {
  const code = play.requests.code[row], latency = duration(play.visits.end[row] - play.visits.began[row]);
  if (code < 0) return { text: tr("{} gives {} up after {}.", sender(play, row), requestName(play, row), latency) };
  const who = [tr("a healthy pod"), tr("the troubled pod"), tr("a proxy"), tr("nobody")][play.requests.answered[row]];
  return { text: tr("{} has the answer to {}: {} from {}, {} after it was sent.", sender(play, row), requestName(play, row), code, who, latency) };
}

function hostEvent(play, row) {
  const { what, proxy, pod, until, time } = play.hosts, who = placeName(play, proxy[row]), name = placeName(play, pod[row]);
  if (what[row] === EJECTED) {
    const back = until[row] < EVER ? tr("it comes back {} later", duration(until[row] - time[row])) : tr("it does not come back before the end");
    return { text: tr("{} ejects {}: {}.", who, name, back) };
  }
  if (what[row] === READMITTED) return { text: tr("{} is back in {}'s list.", name, who) };
  return { text: what[row] === PANIC ? tr("Panic: too few healthy pods, {} uses all of them.", who) : tr("Panic is over: {} uses healthy pods only.", who) };
}

// The state of a panel at a time, in a sentence.
function summary(play, now) {
  const { panel } = play, { pods } = panel.stage;
  const at = (place) => (now.out.has(place) ? tr("{} ejected, {}", panel.stage.names[place], now.active[place]) : `${panel.stage.names[place]} ${now.active[place]}`);
  const parts = [
    tr("{}, {}: {} answered, {} failed", panel.name, panel.says, now.answers.answered, now.answers.failed),
    tr("active at {}", pods.map(at).join(", ")),
    ...(now.waiting ? [tr("{} waiting for a connection", now.waiting)] : []),
    ...(now.resting ? [tr("{} in back-off", now.resting)] : []),
  ];
  return `${parts.join("; ")}.`;
}
