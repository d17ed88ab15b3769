package visibility

// A standard queue serves groups fairly. A group with more than an equal share of the messages
// in flight gives way to the others, whatever its backlog. So one customer's bulk job does not
// keep the others waiting. No receiver is held back: messages that no quiet group takes go to
// the noisy ones, those with the least in flight first.
//
// The counts are those of the messages in flight, kept in memory and right after
// a restart too. A message without a group is a group of its own. The work is
// done by the queue core, see its fair.go.
