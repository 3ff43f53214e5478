package identity

import "testing"

func TestWeakSecrets(t *testing.T) {
	for secret, weak := range map[string]bool{
		"":                                     true,
		"s":                                    true,
		"042137":                               true,
		"0421370421370421":                     true, // it repeats itself
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":     true,
		"abcdefghijklmnopqrstuvwxyz0123456789": true, // a sequence
		"1111222233334444":                     true,
		"8302715463920175":                     true, // digits alone: 53 bits
		"83027154639201750843":                 false,
		"3f9c1b7ae05d2846":                     false, // 64 bits, as drawn
		"passwordpassword":                     true,
		"a secret of this test":                false, // an estimate from above
		"hVx0k2zP9qLmT4sW":                     false,
		"ÄÖÜÄÖÜÄÖÜ":                            true,
	} {
		if why := WeakSecret(secret); (why != "") != weak {
			t.Errorf("%q: %q, about 2^%.0f", secret, why, secretBits(secret))
		}
	}
}
