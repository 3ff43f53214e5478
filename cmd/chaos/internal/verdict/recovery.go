package verdict

// HardReturn names the recovery of HARD runs after the death of their worker;
// it is no fault of its own.
const HardReturn Kind = "hard_return"
