import os
t='tiny'
os.makedirs(t+'/dir')
def w(p,b):
    with open(t+'/'+p,'wb') as f: f.write(b)
w('dir/file',b'some bytes'); w('dir/nothing',b'')
w('chunks',b'a'*4096+b'b'*4096+b'end')
os.link(t+'/dir/file',t+'/other name')
os.symlink('dir/file',t+'/link')
os.mkfifo(t+'/fifo')
os.setxattr(t+'/chunks','user.one',b'1'); os.setxattr(t+'/chunks','user.two',b'22')
for d,ds,fs in os.walk(t,topdown=False):
    for n in ds+fs: os.utime(d+'/'+n,ns=(0,1_600_000_000*10**9+7),follow_symlinks=False)
