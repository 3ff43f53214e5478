package ui

import (
	"fmt"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Sizes of a graph of steps.
const (
	nodeWidth  = 170
	nodeHeight = 30
	nodeGapX   = 50
	nodeGapY   = 12
	// nodesMax bounds what is drawn; tables list all.
	nodesMax = 200
	// nodeLetters of a step's name are drawn.
	nodeLetters = 22
)

// graph is a picture of steps: each stands right of those that it comes after.
type graph struct {
	Width, Height int
	Nodes         []node
	Edges         []edge
	// Left is how many steps are not drawn.
	Left int
}

// node is a step; its phase is empty in a definition.
type node struct {
	Name, Phase string
	parents     []string
	X, Y        int
}

// Label is as much of the name as there is room for.
func (n node) Label() string {
	if letters := []rune(n.Name); len(letters) > nodeLetters {
		return string(letters[:nodeLetters-1]) + "…"
	}
	return n.Name
}

type edge struct{ Path string }

func nodesOf(d *messages.WorkflowDefinition) []node {
	var nodes []node
	for _, s := range d.GetSteps() {
		nodes = append(nodes, node{Name: s.GetName(), parents: s.GetParents()})
	}
	return nodes
}

func nodesOfRun(steps []*api.Step) []node {
	var nodes []node
	for _, s := range steps {
		nodes = append(nodes, node{Name: s.GetName(), Phase: s.GetPhase(), parents: s.GetParents()})
	}
	return nodes
}

// drawGraph places steps in columns: that of a step is one right of the last of its
// parents. nil for none.
func drawGraph(nodes []node) *graph {
	g := &graph{Left: max(0, len(nodes)-nodesMax)}
	nodes = nodes[:len(nodes)-g.Left]
	if len(nodes) == 0 {
		return nil
	}
	at := map[string]int{}
	for i, n := range nodes {
		at[n.Name] = i
	}
	columns := make([]int, len(nodes))
	// A parent may stand after its child in the list: as often as there are steps is
	// enough, whatever was stored.
	for moved, round := true, 0; moved && round < len(nodes); round++ {
		moved = false
		for i, n := range nodes {
			for _, parent := range n.parents {
				if j, ok := at[parent]; ok && columns[i] <= columns[j] && columns[j]+1 < len(nodes) {
					columns[i], moved = columns[j]+1, true
				}
			}
		}
	}
	rows := map[int]int{}
	for i := range nodes {
		n := &nodes[i]
		n.X, n.Y = columns[i]*(nodeWidth+nodeGapX), rows[columns[i]]*(nodeHeight+nodeGapY)
		rows[columns[i]]++
		g.Width, g.Height = max(g.Width, n.X+nodeWidth), max(g.Height, n.Y+nodeHeight)
	}
	for _, n := range nodes {
		for _, parent := range n.parents {
			if j, ok := at[parent]; ok {
				x, y := nodes[j].X+nodeWidth, nodes[j].Y+nodeHeight/2
				g.Edges = append(g.Edges, edge{fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x, y, x+nodeGapX/2, y, n.X-nodeGapX/2, n.Y+nodeHeight/2, n.X, n.Y+nodeHeight/2)})
			}
		}
	}
	g.Nodes = nodes
	return g
}
