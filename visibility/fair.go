package visibility

// A standard queue whose messages have groups serves these fairly: who has more
// than an equal part of what is in flight gives way to those who have not,
// however much of his waits before them. So one customer's bulk job does not
// keep the others waiting. Nobody is kept from receiving: what no quiet group
// takes is for the noisy ones, those with the least in flight first.
//
// The counts are those of the messages in flight, kept in memory and right after
// a restart too. A message without a group is a group of its own. The work is
// done by the spool, see its fair.go.
