package schema

import (
	"math/big"
	"strconv"
	"strings"
)

// decimal is a number as JSON writes it, exactly: 0.digits × 10^exponent.
type decimal struct {
	negative bool
	// digits have no zero at either end; none are zero.
	digits   string
	exponent int64
}

// exponentMax bounds exponents: beyond, two numbers with the same digits count
// as equal.
const exponentMax = int64(1) << 60

// parseDecimal takes the text of a JSON number.
func parseDecimal(s string) decimal {
	var d decimal
	s, d.negative = strings.CutPrefix(s, "-")
	mantissa, power, _ := strings.Cut(strings.ToLower(s), "e")
	if power != "" {
		n, err := strconv.ParseInt(power, 10, 64)
		if err != nil {
			n = exponentMax
			if power[0] == '-' {
				n = -exponentMax
			}
		}
		d.exponent = max(min(n, exponentMax), -exponentMax)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole, "0")
	d.exponent += int64(len(digits))
	if digits == "" {
		trimmed := strings.TrimLeft(fraction, "0")
		d.exponent -= int64(len(fraction) - len(trimmed))
		digits = trimmed
	} else {
		digits += fraction
	}
	d.digits = strings.TrimRight(digits, "0")
	if d.digits == "" {
		return decimal{}
	}
	return d
}

// String is the same for equal numbers.
func (d decimal) String() string {
	sign := ""
	if d.negative {
		sign = "-"
	}
	if d.digits == "" {
		return "0"
	}
	return sign + "." + d.digits + "e" + strconv.FormatInt(d.exponent, 10)
}

// whole says whether the number has no fraction, however it is written.
func (d decimal) whole() bool { return d.digits == "" || d.exponent >= int64(len(d.digits)) }

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	}
	return 1
}

func (d decimal) compare(e decimal) int {
	if a, b := d.sign(), e.sign(); a != b || a == 0 {
		return a - b
	}
	c := 0
	switch {
	case d.exponent != e.exponent:
		c = 1
		if d.exponent < e.exponent {
			c = -1
		}
	default:
		// Without zeros at the end the shorter of two that begin alike is less.
		c = strings.Compare(d.digits, e.digits)
	}
	if d.negative {
		return -c
	}
	return c
}

// multipleOf says whether the number is a whole multiple of another one that
// is not zero.
func (d decimal) multipleOf(unit decimal) bool {
	if d.digits == "" {
		return true
	}
	// d = D×10^a and unit = U×10^b with whole D and U that end in no zero.
	shift := (d.exponent - int64(len(d.digits))) - (unit.exponent - int64(len(unit.digits)))
	if shift < 0 {
		return false
	}
	u, _ := new(big.Int).SetString(unit.digits, 10)
	rest := new(big.Int)
	const piece = 18
	for digits := d.digits; digits != ""; {
		n := min(piece, len(digits))
		part, _ := strconv.ParseInt(digits[:n], 10, 64)
		digits = digits[n:]
		rest.Mul(rest, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
		rest.Mod(rest.Add(rest, big.NewInt(part)), u)
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(shift), u)
	return rest.Mod(rest.Mul(rest, power), u).Sign() == 0
}

// plain writes the number as people do, unless that gets long.
func (d decimal) plain() string {
	sign := ""
	if d.negative {
		sign = "-"
	}
	switch n := int64(len(d.digits)); {
	case n == 0:
		return "0"
	case d.exponent > 30 || d.exponent < -10:
		return sign + "0." + d.digits + "e" + strconv.FormatInt(d.exponent, 10)
	case d.exponent >= n:
		return sign + d.digits + strings.Repeat("0", int(d.exponent-n))
	case d.exponent <= 0:
		return sign + "0." + strings.Repeat("0", int(-d.exponent)) + d.digits
	default:
		return sign + d.digits[:d.exponent] + "." + d.digits[d.exponent:]
	}
}
