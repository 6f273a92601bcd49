//! What a VMM may ask over its connection (vhost-user specification).

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};
use vhost_user_backend::VringT;
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_queue::QueueT;

use super::Ring;
use super::device::Device;
use super::device_state::{DeviceState, Transfer};
use super::dirty_log::DirtyLog;
use super::memory_table::{MAX_SLOTS, MemoryTable, failed};
use super::record::SharedRecord;
use super::workers::Workers;

/// The state of one connection.
pub(super) struct Handler {
    device: Arc<Device>,
    workers: Workers,
    memory: MemoryTable,
    owned: bool,
    features: u64,
    record: Option<SharedRecord>,
    log: Option<Arc<DirtyLog>>,
    state: Option<Arc<dyn DeviceState>>,
    transfer: Transfer,
}

impl Handler {
    /// A handler for a VMM that has said nothing yet.
    pub(super) fn new(
        device: &Arc<Device>,
        workers: Workers,
        state: Option<Arc<dyn DeviceState>>,
    ) -> Self {
        Self {
            device: Arc::clone(device),
            workers,
            memory: MemoryTable::new(device.memory.clone()),
            owned: false,
            features: 0,
            record: None,
            log: None,
            state,
            transfer: Transfer::default(),
        }
    }

    /// Tells it which connection it is for.
    pub(super) fn watch(&mut self, connection: UnixStream) {
        self.transfer.watch(connection);
    }

    fn ring(&self, index: u32) -> Result<(usize, &Ring)> {
        let index = usize::try_from(index).map_err(|_| Error::InvalidParam)?;
        let ring = self.device.rings.get(index).ok_or(Error::InvalidParam)?;
        Ok((index, ring))
    }

    fn offered(&self) -> u64 {
        (1 << VIRTIO_F_VERSION_1)
            | (1 << VIRTIO_RING_F_EVENT_IDX)
            | (1 << VIRTIO_RING_F_INDIRECT_DESC)
            | VhostUserVirtioFeatures::LOG_ALL.bits()
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn has(&self, feature: VhostUserVirtioFeatures) -> bool {
        self.features & feature.bits() != 0
    }

    /// Has a queue listened to as its state asks for.
    fn listen(&self, index: usize) -> Result<()> {
        self.workers.listen(index).map_err(Error::ReqHandlerError)
    }

    /// A ring is started by its kick.
    fn start(&self, index: usize, ring: &Ring) -> Result<()> {
        {
            let state = ring.get_ref();
            if state.get_queue().ready() || state.get_kick().is_none() {
                return Ok(());
            }
        }
        self.device.begin(index, self.record.as_ref());
        ring.set_queue_ready(true);
        ring.remind();
        self.listen(index)
    }

    /// Pages are logged while the VMM has both asked for it and said where to.
    fn update_log(&self) {
        let wanted = self.has(VhostUserVirtioFeatures::LOG_ALL);
        let log = self.log.as_ref().filter(|_| wanted);
        for ring in &self.device.rings {
            ring.log_to(log.cloned());
        }
    }
}

impl VhostUserBackendReqHandlerMut for Handler {
    fn set_owner(&mut self) -> Result<()> {
        if self.owned {
            return Err(Error::InvalidOperation("already claimed"));
        }
        self.owned = true;
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.owned = false;
        self.features = 0;
        self.update_log();
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        for (index, ring) in self.device.rings.iter().enumerate() {
            ring.set_enabled(false);
            self.listen(index)?;
        }
        self.features = 0;
        self.update_log();
        self.device.stop_all();
        for ring in &self.device.rings {
            ring.set_queue_ready(false);
            ring.set_kick(None);
            ring.set_call(None);
            ring.set_queue_next_avail(0);
            ring.set_queue_next_used(0);
        }
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !self.offered() != 0 {
            return Err(Error::InvalidParam);
        }
        self.features = features;
        // Without protocol features there is no message that enables rings.
        if !self.has(VhostUserVirtioFeatures::PROTOCOL_FEATURES) {
            for (index, ring) in self.device.rings.iter().enumerate() {
                ring.set_enabled(true);
                self.listen(index)?;
            }
        }
        let event_idx = features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0;
        for ring in &self.device.rings {
            ring.set_queue_event_idx(event_idx);
        }
        self.update_log();
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        refuse_postcopy(postcopy_listening)?;
        self.memory.set(regions, files)?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let (_, ring) = self.ring(index)?;
        match u16::try_from(num) {
            Ok(size) if (1..=self.device.queue_size).contains(&size) => ring.set_queue_size(size),
            _ => {
                log::error!(
                    "The VMM wants {num} entries for queue {index}; 1 to {} are possible",
                    self.device.queue_size
                );
                return Err(Error::InvalidParam);
            }
        }
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let (_, ring) = self.ring(index)?;
        let descriptor = self.memory.guest_address(descriptor)?;
        let available = self.memory.guest_address(available)?;
        let used = self.memory.guest_address(used)?;
        ring.place(descriptor, available, used).map_err(failed)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        // Indices have 16 bits.
        self.ring(index)?
            .1
            .set_queue_next_avail((base & 0xffff) as u16);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let (at, ring) = self.ring(index)?;
        ring.set_queue_ready(false);
        self.listen(at)?;
        self.device.stop(at);
        let next = ring.queue_next_avail();
        ring.set_kick(None);
        ring.set_call(None);
        Ok(VhostUserVringState::new(index, next.into()))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let (index, ring) = self.ring(index.into())?;
        self.workers.forget_kick(index);
        ring.set_kick(fd);
        if ring.get_ref().get_queue().ready() {
            return self.listen(index);
        }
        self.start(index, ring)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let (index, ring) = self.ring(index.into())?;
        ring.set_call(fd);
        ring.remind();
        self.start(index, ring)
    }

    fn set_vring_err(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.ring(index.into())?.1.set_err(fd);
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        let mut features = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::LOG_SHMFD;
        if self.device.config.is_some() {
            features |= VhostUserProtocolFeatures::CONFIG;
        }
        if self.state.is_some() {
            features |= VhostUserProtocolFeatures::DEVICE_STATE;
        }
        Ok(features)
    }

    fn set_protocol_features(&mut self, _features: u64) -> Result<()> {
        // Each message says by itself what was agreed on.
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.device.rings.len()).unwrap_or(u64::MAX))
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        let (index, ring) = self.ring(index)?;
        ring.set_enabled(enable);
        self.listen(index)
    }

    fn get_config(&mut self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        Ok(self.device.config(offset, size))
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        Err(unsupported("the configuration cannot be written"))
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        Err(unsupported("this is no GPU"))
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        Err(unsupported("no objects are shared"))
    }

    fn get_inflight_fd(&mut self, wanted: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        let queues = usize::from(wanted.num_queues);
        if queues > self.device.rings.len() || wanted.queue_size > self.device.queue_size {
            return Err(Error::InvalidParam);
        }
        let made = SharedRecord::make(wanted.num_queues, wanted.queue_size);
        made.map_err(Error::ReqHandlerError)
    }

    fn set_inflight_fd(&mut self, told: &VhostUserInflight, file: File) -> Result<()> {
        let record = SharedRecord::take_over(told, file);
        let record = record.inspect_err(|error| {
            log::error!("The VMM's record of requests in flight is refused: {error}");
        });
        self.record = Some(record.map_err(Error::ReqHandlerError)?);
        Ok(())
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MAX_SLOTS)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        fd: File,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        refuse_postcopy(postcopy_listening)?;
        self.memory.add(region, fd)?;
        Ok(None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        self.memory.remove(region)
    }

    fn set_device_state_fd(
        &mut self,
        direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        fd: File,
    ) -> Result<Option<File>> {
        let Some(state) = &self.state else {
            return Err(unsupported("no state is kept"));
        };
        // What requests change meanwhile would be half in it.
        if self.device.rings.iter().any(Ring::is_served) {
            let refused = io::Error::other("its queues are not stopped");
            log::error!("The device's state is not transferred: {refused}");
            return Err(Error::ReqHandlerError(refused));
        }
        let server = Arc::clone(&self.device.server);
        let loaded = move || server.resume();
        let begun = self.transfer.begin(state, direction, fd, loaded);
        begun.map_err(Error::ReqHandlerError)?;
        Ok(None)
    }

    fn check_device_state(&mut self) -> Result<()> {
        self.transfer.end().map_err(Error::ReqHandlerError)
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Err(unsupported("no memory is shared"))
    }

    fn set_log_base(&mut self, log: &VhostUserLog, file: File) -> Result<()> {
        let log = DirtyLog::new(log, file).map_err(Error::ReqHandlerError)?;
        self.log = Some(Arc::new(log));
        self.update_log();
        Ok(())
    }
}

fn refuse_postcopy(listening: Option<bool>) -> Result<()> {
    match listening {
        None => Ok(()),
        Some(_) => Err(Error::InvalidOperation("postcopy is not offered")),
    }
}

fn unsupported(why: &str) -> Error {
    Error::ReqHandlerError(io::Error::new(io::ErrorKind::Unsupported, why.to_owned()))
}
