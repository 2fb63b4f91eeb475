// What happens, in words: the card under a stage, and what a screen reader hears.

// {text, draws?}: what event k of a panel is; draws are LEAST_REQUEST's two, with the one that it took.
function describe(play, k) {
  const row = play.events.row[k];
  switch (play.events.kind[k]) {
    case SENT: return { text: `${sender(play, row)} sends ${requestName(play, row)}.` };
    case PICKED: return picked(play, row);
    case GRANTED: return { text: `A connection to ${placeName(play, play.visits.target[row])} is free: ${tryName(play, row)} is sent after ${duration(play.visits.sent[row] - play.visits.began[row])} in the queue.` };
    case ENDED: return ended(play, row);
    case ANSWERED: return answered(play, row);
    default: return hostEvent(play, row);
  }
}

const placeName = (play, place) => play.panel.stage.names[place] ?? "nobody";
const requestName = (play, row) => `request ${play.requests.number[play.visits.request[row]]}`;

function tryName(play, row) {
  const number = play.visits.number[row];
  return requestName(play, row) + (number > 1 ? `, try ${number}` : "");
}

function sender(play, row) {
  const connection = play.requests.connection[play.visits.request[row]];
  return connection < 0 ? "The load" : `Connection ${connection}`;
}

function policyAt(play, hop, t) {
  return play.panel.policies[hop].filter(([from]) => from <= t).at(-1)[1];
}

function picked(play, row) {
  const v = play.visits, who = placeName(play, v.origin[row]), what = tryName(play, row), pod = placeName(play, v.target[row]);
  const outcome = play.panel.outcomes[v.outcome[row]];
  if (v.target[row] < 0) return { text: `${who} has no pod for ${what}: ${outcome}.` };
  const queue = v.sent[row] - v.began[row] > play.panel.pause || !(v.sent[row] >= 0) ? " No connection is free: it waits." : "";
  const again = v.number[row] > 1 ? ` Tried before: ${triedBefore(play, row).join(", ")}.` : "";
  if (v.first[row] >= 0) return { ...twoDraws(play, row), text: `${who} draws two pods for ${what}: ${verdict(play, row)}${again}${queue}` };
  return { text: `${who} sends ${what} to ${pod}: ${reason(play, row)}.${again}${queue}` };
}

function twoDraws(play, row) {
  const v = play.visits;
  const draw = (place, active) => ({ place, name: placeName(play, place), active, taken: place === v.target[row] });
  return { draws: [draw(v.first[row], v.first_active[row]), draw(v.second[row], v.second_active[row])] };
}

function verdict(play, row) {
  const v = play.visits, [first, second] = [placeName(play, v.first[row]), placeName(play, v.second[row])];
  const [a, b] = [v.first_active[row], v.second_active[row]], taken = placeName(play, v.target[row]);
  if (v.target[row] !== v.first[row] && v.target[row] !== v.second[row]) return `both were tried before; ${taken} was drawn in the end.`;
  if (v.first[row] === v.second[row]) return `twice ${first}, so it gets the request, however many wait there.`;
  if (a === b) return `${a} active each: the first draw, ${first}, stays.`;
  return b < a ? `${second} has fewer active (${b} against ${a}) and takes it.` : `${first} has fewer active (${a} against ${b}) and takes it.`;
}

// Why a policy without draws took this pod.
function reason(play, row) {
  const v = play.visits, policy = policyAt(play, v.hop[row], v.began[row]);
  if (policy === "RANDOM") return "RANDOM, however many wait there";
  if (policy === "RING_HASH" || policy === "MAGLEV") return `${policy}, where its hash points to`;
  if (policy === "LEAST_REQUEST") return "LEAST_REQUEST; which two it drew is not told";
  const before = pickBefore(play, row);
  const turn = before < 0 ? "the first of this worker" : `after ${placeName(play, v.target[before])}`;
  return `${policy}, in turn (${turn}; worker ${v.worker[row]})`;
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
  return found.length ? found : ["none"];
}

function ended(play, row) {
  const v = play.visits, pod = placeName(play, v.target[row]), outcome = play.panel.outcomes[v.outcome[row]];
  const took = duration(v.end[row] - (v.sent[row] >= 0 ? v.sent[row] : v.began[row])), who = placeName(play, v.origin[row]);
  return { text: `${howItEnded(outcome, pod, who, tryName(play, row), took)}${whatFollows(play, row, outcome)}` };
}

function howItEnded(outcome, pod, who, what, took) {
  switch (outcome) {
    case "refused": return `${pod} refuses the connection of ${what}.`;
    case "reset": return `${pod} resets ${what} after ${took}.`;
    case "per try timeout": return `perTryTimeout: ${who} gives ${what} up after ${took}; ${pod} works on.`;
    case "timeout": return `timeout: ${who} gives ${what} up after ${took} at ${pod}.`;
    case "overflow": return `${who} refuses ${what}: a limit is reached (overflow).`;
    case "no healthy upstream": return `${who} has no healthy pod for ${what}.`;
    case "abandoned": return `Nobody waits for ${what} any more: ${who} abandons it.`;
    default: return `${pod} answers ${what} with ${outcome} after ${took}.`;
  }
}

function whatFollows(play, row, outcome) {
  const next = play.next[row], fine = /^[123]\d\d$/.test(outcome);
  if (next >= 0 && play.visits.began[next] >= play.visits.end[row]) return ` Tried again after ${duration(play.visits.back_off[next])} of back-off.`;
  return fine ? "" : ` ${placeName(play, play.visits.origin[row])} does not try again.`;
}

function answered(play, row) {
  const code = play.requests.code[row], latency = duration(play.visits.end[row] - play.visits.began[row]);
  if (code < 0) return { text: `${sender(play, row)} gives ${requestName(play, row)} up after ${latency}.` };
  const who = ["a healthy pod", "the troubled pod", "a proxy", "nobody"][play.requests.answered[row]];
  return { text: `${sender(play, row)} has the answer to ${requestName(play, row)}: ${code} from ${who}, ${latency} after it was sent.` };
}

function hostEvent(play, row) {
  const { what, proxy, pod, until, time } = play.hosts, who = placeName(play, proxy[row]), name = placeName(play, pod[row]);
  if (what[row] === EJECTED) {
    const back = until[row] < EVER ? `it comes back ${duration(until[row] - time[row])} later` : "it does not come back before the end";
    return { text: `${who} ejects ${name}: ${back}.` };
  }
  if (what[row] === READMITTED) return { text: `${name} is back in ${who}'s list.` };
  return { text: what[row] === PANIC ? `Panic: too few healthy pods, ${who} uses all of them.` : `Panic is over: ${who} uses healthy pods only.` };
}

// The state of a panel at a time, in a sentence.
function summary(play, now) {
  const { panel } = play, pods = panel.stage.columns.at(-1);
  const where = pods.map((place) => `${panel.stage.names[place]} ${now.out.has(place) ? "ejected, " : ""}${now.active[place]}`).join(", ");
  const waiting = now.waiting ? `; ${now.waiting} waiting for a connection` : "";
  const resting = now.resting ? `; ${now.resting} in back-off` : "";
  return `${panel.name}, ${panel.says}: ${now.answers.answered} answered, ${now.answers.failed} failed; active at ${where}${waiting}${resting}.`;
}
