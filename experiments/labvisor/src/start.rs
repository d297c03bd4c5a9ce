//! The story: labvisor starts, hides, loads its guest, and serves its exits.

use alloc::boxed::Box;
use core::fmt::Write;
use core::ops::Range;

use labvisor::defects;
use labvisor::exits::{INTERCEPTED_MSRS, INTERCEPTED_PORTS, Stop, Vmm};
use labvisor::guest_memory::GuestMemory;
use labvisor::log::Log;
use labvisor::machine::Machine;
use labvisor::multiboot::Info;
use labvisor::paging::{Full, PAGE, PageTables};
use labvisor::vcpu::{Tables, Vcpu};
use labvisor::{acpi, confinement, memory_map, multiboot};
use raw_cpuid::CpuId;

use crate::guest;
use crate::hw::console::Console;
use crate::hw::{self, Hardware, boot, cpu, firmware, image, physical, port, traps};

/// Labvisor hides at least this much at the top of RAM.
const HIDDEN: u64 = 8 << 20;
/// The first part of the hidden memory is not used, so that an experiment can show a defect
/// there without harm. It is filled with [`PATTERN`].
const UNUSED: u64 = 1 << 20;
const PATTERN: &[u8; 16] = b"labvisor hidden\n";

/// From the first Rust instruction to the end of the machine.
pub fn start(magic: u32, info: u32) -> ! {
    Console::init();
    traps::init();
    let mut info = boot::information(magic, info)
        .unwrap_or_else(|| give_up("not started by GRUB (Multiboot2)"));
    plant(&info);
    check_processor(&info);
    let hidden = hide(&info);

    let mut log = Log::default();
    let mut m = Hardware;
    let Range { start, end } = hidden.clone();
    log.line(&mut m, format_args!("hidden memory {start:#x}-{end:#x}"));
    for id in defects::active() {
        log.line(&mut m, format_args!("planted {id}"));
    }

    let memory = GuestMemory::new(&info.memory, hidden.clone());
    info.memory = memory_map::without(&info.memory, &hidden);
    wipe(image::loaded());
    let loaded = guest::gather_modules(&mut info, hidden.start)
        .and_then(|()| guest::load(&mut info))
        .unwrap_or_else(|why| give_up(why));
    let nested =
        confine(&hidden).unwrap_or_else(|Full| give_up("no room for the nested page table"));
    let tables = Tables {
        iopm: permission_map(
            3,
            INTERCEPTED_PORTS.iter().cloned().flatten().map(usize::from),
        ),
        msrpm: permission_map(2, INTERCEPTED_MSRS.iter().flat_map(|msr| msrpm_bits(*msr))),
        nested_root: nested.root(),
    };
    cpu::enable_svm(permission_map(1, core::iter::empty()));
    let mut vcpu = Vcpu::multiboot2(loaded.entry, multiboot::MAGIC, loaded.info, &tables);
    let features = CpuId::new().get_svm_info();
    let has_next_rip = features.is_some_and(|svm| svm.has_nrip());
    let mut vmm = Vmm::new(memory, nested, log, has_next_rip);
    vmm.add_net_device(&mut m);
    vmm.log
        .line(&mut m, format_args!("guest starts at {:#x}", loaded.entry));
    serve(&mut vmm, &mut vcpu, &mut m)
}

/// Runs the guest and handles its exits until it cannot go on.
fn serve(vmm: &mut Vmm, vcpu: &mut Vcpu, m: &mut dyn Machine) -> ! {
    loop {
        hw::world::run(vcpu);
        if let Err(stop) = vmm.handle(vcpu, m) {
            let save = &vcpu.vmcb.save;
            let (cs, rip, cr2) = (save.cs.selector, save.rip, save.cr2);
            let control = &vcpu.vmcb.control;
            let (code, info_1, info_2) =
                (control.exit_code, control.exit_info_1, control.exit_info_2);
            if let Stop::Panic(text) = stop {
                panic!("{text}: exit {code:#x} info {info_1:#x} {info_2:#x} at {cs:#x}:{rip:#x}");
            }
            vmm.log
                .line(m, format_args!("{stop} at {cs:#x}:{rip:#x} cr2 {cr2:#x}"));
            end_machine();
        }
    }
}

/// Plants the defects that fw_cfg or the command line name.
fn plant(info: &Info) {
    let item = firmware::item("opt/hvlab/labvisor");
    let words = item.as_deref().unwrap_or(&info.command_line);
    if let Err(unknown) = defects::plant(words) {
        let _ = writeln!(Console, "labvisor: {unknown}");
        cpu::halt();
    }
}

/// One processor with SVM and nested paging, or we say what is missing and halt.
fn check_processor(info: &Info) {
    let id = CpuId::new();
    let has_svm = id
        .get_extended_processor_and_feature_identifiers()
        .is_some_and(|f| f.has_svm());
    if !has_svm {
        give_up("this processor has no SVM (QEMU: -cpu EPYC,+svm,+npt)");
    }
    if cpu::svm_locked_off() {
        give_up("SVM is switched off by the firmware");
    }
    if !id.get_svm_info().is_some_and(|svm| svm.has_nested_paging()) {
        give_up("this processor has no nested paging (QEMU: -cpu EPYC,+svm,+npt)");
    }
    let rsdp = info.other.iter().find(|(kind, _)| matches!(kind, 14 | 15));
    let processors = rsdp.and_then(|(_, bytes)| acpi::processors(bytes, &physical::read));
    if processors.is_some_and(|count| count > 1) {
        give_up("more than one processor; labvisor serves one (QEMU: -smp 1)");
    }
}

/// Moves labvisor to the top of RAM and says what the guest must not see.
fn hide(info: &Info) -> Range<u64> {
    let length = HIDDEN.max(UNUSED + image::length());
    let hidden = memory_map::choose_hidden(&info.memory, length)
        .unwrap_or_else(|| give_up("no room at the top of RAM"));
    let in_the_way = |range: &Range<u64>| range.start < hidden.end && range.end > hidden.start;
    if info.modules.iter().any(|module| in_the_way(&module.range)) || in_the_way(&image::loaded()) {
        give_up("a module lies where labvisor wants to hide");
    }
    if image::move_to(hidden.start + UNUSED, gigabyte_pages(), reach()).is_err() {
        give_up("no room for page tables");
    }
    traps::init();
    for at in (hidden.start..hidden.start + UNUSED).step_by(PATTERN.len()) {
        physical::write(at, PATTERN);
    }
    hidden
}

/// The nested page table that keeps the guest out of `hidden`.
fn confine(hidden: &Range<u64>) -> Result<PageTables, Full> {
    let mut nested = PageTables::new(64, gigabyte_pages(), image::physical);
    let zeros = permission_map(1, core::iter::empty());
    confinement::confine(&mut nested, 0..reach(), hidden, zeros)?;
    Ok(nested)
}

fn gigabyte_pages() -> bool {
    CpuId::new()
        .get_extended_processor_and_feature_identifiers()
        .is_some_and(|f| f.has_1gib_pages())
}

/// Physical memory that one top-level entry maps; less where the tables would get large.
fn reach() -> u64 {
    if gigabyte_pages() {
        512 << 30
    } else {
        16 << 30
    }
}

#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; PAGE as usize]);

/// The physical address of `pages` pages in which the numbered bits are set, never freed.
fn permission_map(pages: usize, bits: impl Iterator<Item = usize>) -> u64 {
    let map = Box::leak(alloc::vec![Page([0; PAGE as usize]); pages].into_boxed_slice());
    for bit in bits {
        map[bit / 8 / PAGE as usize].0[bit / 8 % PAGE as usize] |= 1 << (bit % 8);
    }
    image::physical(map.as_ptr() as u64)
}

/// The read and write bits of a register in the MSR permission map (APM vol. 2, 15.11).
fn msrpm_bits(msr: u32) -> [usize; 2] {
    let number = match msr {
        0..=0x1fff => msr,
        0xc000_0000..=0xc000_1fff => msr - 0xc000_0000 + 0x2000,
        _ => msr - 0xc001_0000 + 0x4000,
    } as usize;
    [2 * number, 2 * number + 1]
}

/// Zeroes the place GRUB loaded labvisor to: it is the guest's now.
fn wipe(range: Range<u64>) {
    for page in range.step_by(PAGE as usize) {
        physical::write(page, &[0; PAGE as usize]);
    }
}

/// The machine cannot serve; say so and halt.
fn give_up(why: &str) -> ! {
    let _ = writeln!(Console, "labvisor: cannot start: {why}");
    cpu::halt()
}

/// The guest is gone: end the emulator if there is one, else reset.
fn end_machine() -> ! {
    const DEBUG_EXIT: u16 = 0xf4;
    const GUEST_SHUTDOWN: u32 = 0x76;
    const RESET_CONTROL: u16 = 0xcf9;
    port::write(DEBUG_EXIT, 1, GUEST_SHUTDOWN);
    port::write(RESET_CONTROL, 1, 2);
    port::write(RESET_CONTROL, 1, 6);
    cpu::halt()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    let _ = write!(Console, "labvisor: panic: {}", info.message());
    if let Some(place) = info.location() {
        let _ = write!(Console, " ({}:{})", place.file(), place.line());
    }
    let _ = writeln!(Console);
    cpu::halt()
}
