//! Classes (what can be switched on and off) and kinds (what a record says).

macro_rules! numbered {
    ($(#[$doc:meta])* $type:ident { $($name:ident = $value:literal, $text:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $type { $(#[doc = $help] $name = $value,)* }

        impl $type {
            /// All, ascending by number.
            pub const ALL: &'static [$type] = &[$($type::$name,)*];

            /// The one with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($value => Some(Self::$name),)* _ => None }
            }

            /// Its name in text forms and on command lines.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// A phrase for people.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }

            /// The one with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| item.name() == name)
            }
        }
    };
}

numbered! {
    /// What a probe point belongs to; each class can be switched at run time.
    Class {
        Meta = 0, "meta", "Clock pairs, losses, panics; always on.";
        Hypercall = 1, "hypercall", "Hypercalls, by the kernel or by a probe.";
        Msr = 2, "msr", "Reads and writes of model-specific registers.";
        Port = 3, "port", "Port input and output.";
        Cpuid = 4, "cpuid", "CPUID.";
        Code = 5, "code", "Probed code of another sort.";
        PageFault = 6, "pagefault", "Page faults of processes.";
        Virtio = 7, "virtio", "Doorbells, interrupts and resets of virtio devices.";
        Remote = 8, "remote", "Operations on remote files.";
        Sched = 9, "sched", "Context switches.";
        Experiment = 10, "experiment", "Events and checkpoints of experiments.";
        VmmLog = 11, "vmmlog", "The hypervisor's own log.";
        Exit = 12, "exit", "VM exits, as the hypervisor saw them.";
        Packet = 13, "packet", "Frames sent and received.";
        Interrupt = 14, "interrupt", "Interrupts.";
    }
}

numbered! {
    /// What a record says; decides the layout of its payload.
    Kind {
        ClockPair = 1, "clock", "Time of day at this TSC.";
        Dropped = 2, "dropped", "Records lost because a buffer was full.";
        Panic = 3, "panic", "The kernel panicked.";
        ProbeRequest = 4, "request", "Code or a hypercall is about to run.";
        ProbeAnswer = 5, "answer", "What came of a request.";
        PageFault = 6, "fault", "A process faulted.";
        VirtioNotify = 7, "notify", "A doorbell was written.";
        VirtioReset = 8, "reset", "A device was reset.";
        Interrupt = 9, "irq", "An interrupt arrived.";
        RemoteRequest = 10, "remote", "A remote file operation begins.";
        RemoteAnswer = 11, "remote-answer", "A remote file operation ended.";
        Switch = 12, "switch", "A context switch.";
        Event = 13, "event", "An experiment says something.";
        VmmLog = 14, "log", "Text from the hypervisor's log.";
        Exit = 15, "exit", "A VM exit, seen by the hypervisor.";
        Packet = 16, "packet", "A frame.";
    }
}

impl Class {
    /// Its bit in a mask of classes.
    pub const fn bit(self) -> u64 {
        1 << (self as u8)
    }

    /// Classes that are on at boot: all but those that would drown the rest.
    pub const DEFAULT_MASK: u64 = {
        let all = (1 << Class::ALL.len()) - 1;
        all & !(Class::Sched.bit()
            | Class::Packet.bit()
            | Class::Interrupt.bit()
            | Class::Virtio.bit())
    };
}
