package log

// partitionOf places a key among n partitions as Kafka's default partitioner
// does, so that data keeps its place when it comes from there.
func partitionOf(key []byte, n int) int {
	return int(uint32(murmur2(key))&0x7fffffff) % n
}

// laneOf places a key among n handlers. Keys of one partition have the remainder of
// their hash in common, so that it must not be that which decides here.
func laneOf(key []byte, n int) int {
	const golden = 0x9e3779b1 // brings every bit of the hash to the top
	return int(uint64(uint32(murmur2(key))*golden) * uint64(n) >> 32)
}

// murmur2 is the hash of Kafka's partitioner: 32-bit MurmurHash2 with a fixed
// seed.
func murmur2(data []byte) int32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return int32(h)
}
