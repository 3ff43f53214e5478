package cluster

import "github.com/limpetrun/limpet/messages"

// PresetNamed returns LocalConfig, LANConfig or WANConfig by the names local,
// lan and wan, under which a configuration knows them; else INVALID_ARGUMENT.
func PresetNamed(name string) (Preset, error) {
	switch name {
	case "local":
		return LocalConfig(), nil
	case "lan":
		return LANConfig(), nil
	case "wan":
		return WANConfig(), nil
	}
	return Preset{}, messages.Errorf(messages.CodeInvalidArgument, "preset %q is not local, lan or wan", name)
}
