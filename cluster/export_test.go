package cluster

// LibraryMembers returns the ids in the library's member list.
func (n *Node) LibraryMembers() []string {
	var ids []string
	for _, m := range n.cluster.MemberList.Members().Members() {
		ids = append(ids, m.Id)
	}
	return ids
}
