import os,random,socket,stat
random.seed(5)
t='tree'
os.makedirs(t+'/dir/empty'); os.makedirs(t+'/many')
def w(p,b):
    with open(t+'/'+p,'wb') as f: f.write(b)
w('dir/file',b'some bytes'); w('dir/nothing',b'')
w('chunks',random.randbytes(10000))
# 131 chunks that compress well, and each another one
w('long',b''.join((b'%06d ' % n)*585+b'x' for n in range(130))+b'the end')
w('hole',b'\0'*20000)
w('same',open(t+'/chunks','rb').read()[:4096]+b'tail')
os.link(t+'/dir/file',t+'/other name'); os.link(t+'/dir/file',t+'/many/link')
os.symlink('dir/file',t+'/link'); os.symlink(b'/'+b'long/'*60+b'\xfe',t+'/dir/long link')
for n in range(300): w('many/%03d%s'%(n,'y'*(n%40)),b'%d'%n if n%3 else b'')
os.mkfifo(t+'/fifo'); os.mknod(t+'/null',0o666|stat.S_IFCHR,os.makedev(1,3)); os.mknod(t+'/blk',0o660|stat.S_IFBLK,os.makedev(259,300))
s=socket.socket(socket.AF_UNIX); s.bind(t+'/sock')
w('odd\xff'.encode('latin1').decode('utf8','surrogateescape'),b'odd')
w('n'*255,b'n'); w('new\nline',b'l')
os.chmod(t+'/dir/file',0o4711); os.chown(t+'/dir/file',70000,70001); os.chown(t+'/dir',3,4); os.chmod(t+'/dir',0o1777)
os.setxattr(t+'/chunks','user.one',b'1'); os.setxattr(t+'/chunks','user.two',bytes(range(256)))
os.setxattr(t+'/chunks','security.capability',bytes.fromhex('0100000200040000000000000000000000000000'))
os.setxattr(t+'/dir','user.dir',b''); os.setxattr(t+'/dir/nothing','trusted.x',b'\0')
for d,ds,fs in os.walk(t,topdown=False):
    for n in ds+fs: os.utime(d+'/'+n,ns=(0,1_600_000_000*10**9+7),follow_symlinks=False)
os.utime(t+'/dir/nothing',ns=(0,-5*10**9+3)); os.utime(t+'/dir',ns=(0,1_500_000_000*10**9)); os.utime(t,(0,0))
