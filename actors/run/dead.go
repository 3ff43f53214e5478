package run

func (m *Machine) refuseDead(in Input) {
	err := m.elsewhere()
	var token any
	switch in := in.(type) {
	case Start:
		token = in.Token
	case Cancel:
		token = in.Token
	case Replay:
		token = in.Token
	case Spawn:
		token = in.Token
	case RecordCall:
		token = in.Token
	case Where:
		token = in.Token
	case FindCall:
		token = in.Token
	case Signal:
		token = in.Token
	case AwaitCall:
		token = in.Token
	case SendSignal:
		token = in.Token
	case OpenStream:
		token = in.Token
	case ChildEnded:
		token = in.Token
	case EventCame:
		token = in.Token
	}
	if token != nil {
		m.do(Reply{Token: token, Err: err})
	}
}
