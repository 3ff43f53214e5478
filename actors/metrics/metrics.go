// Package metrics counts what happens at a server and at a worker, for
// Prometheus.
//
// Data flow: entries that are durable, commits, calls of the API, changes of
// workers, hooks of a worker → counters and histograms; a scrape → the sources,
// which say how things stand → gauges. Nothing is sent anywhere: Handler answers
// who asks.
//
// Where a metric comes from, by file:
//
//	runs.go       entries of runs, once each is durable: Server.Committed
//	server.go     commits, calls, workers, shards: the other methods of Server
//	standing.go   how things stand at a scrape: Sources
//	worker.go     a worker process: its hooks, and its last report
//
// Rules:
//
//	M1: no label holds a run id, a key, a text of a user or the id of one of many
//	    workers. What a label can hold is a list, or names of which only the first
//	    NamesMax are told apart; all others are "other".
//	M2: units are seconds and bytes; a counter ends in _total.
//	M3: counting costs no lock that runs share with anything but a scrape, and a
//	    scrape waits at most a second for anybody.
//	M4: a registry is one server's or one worker's: several of one process do not
//	    write over each other.
//	M5: every metric is in the table of cmd/limpet/deploy/METRICS.md.
//
// Imports journal, placement, run, server, places, tracing, worker, messages and the
// Prometheus library.
package metrics

import (
	"net/http"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/limpetrun/limpet/actors/tracing"
)

// NamesMax is how many names of workflows, of pools and of local states are told
// apart in labels, each; further ones are counted as Other.
const NamesMax = 100

// Other stands in a label for the names beyond NamesMax.
const Other = "other"

// Family is a metric as the documentation lists it.
type Family struct {
	Name string
	// Type is counter, gauge or histogram.
	Type   string
	Labels []string
	Help   string
}

// book makes the metrics of one registry and keeps their list.
type book struct {
	registry *prometheus.Registry
	families []Family
}

func newBook() *book {
	b := &book{registry: prometheus.NewRegistry()}
	b.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return b
}

// Families are the metrics of Limpet's own, in the order of the documentation;
// those of the Go runtime and the process are beside them.
func (b *book) Families() []Family { return b.families }

// Handler answers a scrape. It does not look at who asks.
func (b *book) Handler() http.Handler {
	return promhttp.HandlerFor(b.registry, promhttp.HandlerOpts{})
}

// Registry holds the metrics.
func (b *book) Registry() *prometheus.Registry { return b.registry }

func (b *book) add(kind, name, help string, labels []string) {
	b.families = append(b.families, Family{name, kind, labels, help})
}

func (b *book) counters(name, help string, labels ...string) *prometheus.CounterVec {
	b.add("counter", name, help, labels)
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	b.registry.MustRegister(c)
	return c
}

func (b *book) counter(name, help string) prometheus.Counter {
	return b.counters(name, help).WithLabelValues()
}

func (b *book) gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	b.add("gauge", name, help, labels)
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	b.registry.MustRegister(g)
	return g
}

func (b *book) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	b.add("histogram", name, help, labels)
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	b.registry.MustRegister(h)
	return h
}

func (b *book) histogram(name, help string, buckets []float64) prometheus.Observer {
	return b.histograms(name, help, buckets).WithLabelValues()
}

// told is a metric whose value is asked for at each scrape.
type told struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func (b *book) told(kind prometheus.ValueType, name, help string, labels []string) told {
	b.add(map[prometheus.ValueType]string{prometheus.CounterValue: "counter", prometheus.GaugeValue: "gauge"}[kind], name, help, labels)
	return told{prometheus.NewDesc(name, help, labels, nil), kind}
}

func (b *book) gauge(name, help string, labels ...string) told {
	return b.told(prometheus.GaugeValue, name, help, labels)
}

// spans are those of traces that the process made.
func (b *book) spans(name string) told {
	return b.told(prometheus.CounterValue, name, "Spans of traces. outcome: exported, failed (the collector did not take them), dropped (too many waited for it).", []string{"outcome"})
}

func sendSpans(to chan<- prometheus.Metric, t told, f tracing.Figures) {
	t.send(to, float64(f.Exported), "exported")
	t.send(to, float64(f.Failed), "failed")
	t.send(to, float64(f.Dropped), "dropped")
}

// send gives a scrape the value.
func (t told) send(to chan<- prometheus.Metric, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(t.desc, t.kind, value, labels...)
}

// Buckets of durations, in seconds.
var (
	// quick is for what takes no time unless something is wrong.
	quick = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	// long is for what a step may do, and for what waits for a worker.
	long = []float64{.001, .005, .025, .1, .5, 1, 5, 15, 60, 300, 1800, 7200, 43200}
)

// names are the values of a label, of which only the first NamesMax are told
// apart. It is safe for concurrent use.
type names struct {
	known sync.Map // string → string
	mu    sync.Mutex
	n     int
}

// of is what the label holds for a name. Once known, that does not change.
func (s *names) of(name string) string {
	if label, ok := s.known.Load(name); ok {
		return label.(string)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if label, ok := s.known.Load(name); ok {
		return label.(string)
	}
	if s.n >= NamesMax {
		return Other // not kept: there may be any number of them
	}
	s.n++
	s.known.Store(name, name)
	return name
}

// each makes what is counted for a key once, and finds it again quickly. There
// are but so many keys.
type each[K comparable, V any] struct {
	made sync.Map // K → V
	make func(K) V
}

func (e *each[K, V]) of(key K) V {
	if v, ok := e.made.Load(key); ok {
		return v.(V)
	}
	v, _ := e.made.LoadOrStore(key, e.make(key))
	return v.(V)
}

// word is the name of a value of an enum, as labels have it: REASON_WORKER_LOST
// is worker_lost.
func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }
